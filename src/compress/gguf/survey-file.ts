/** `surveyTypes` for a file by path. */

import { openGguf } from '../../formats/gguf/open.ts';
import { openGuide } from './quantize.ts';
import { type Survey, type SurveyOptions, surveyTypes } from './survey.ts';

/** @throws WhittleError as `openGguf` and `planGguf`; a type that does not fit the model is named in `unsuited` */
export async function surveyGguf(input: string, options: SurveyOptions = {}): Promise<Survey> {
  await using model = await openGguf(input);
  await using guide = await openGuide(options.imatrix);
  return await surveyTypes(model, guide.imatrix, options);
}
