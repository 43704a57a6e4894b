/**
 * Gathers small writes into large ones, for outputs where every call costs a message to another process (files of a page,
 * parts of a Blob). Several regions may grow at once: a tile of a weight goes to its codes and to its scales.
 */

export interface GatheredWrites {
  write(offset: number, bytes: Uint8Array): Promise<void>;
  /** Passes on what is held. */
  flush(): Promise<void>;
}

interface Region {
  readonly offset: number;
  length: number;
  readonly buffer: Uint8Array<ArrayBuffer>;
}

/** Bytes of one region, and regions that grow at once: 16 MiB are held at most. */
const REGION_BYTES = 4 << 20;
const REGIONS = 4;

/** @param pass Takes ownership of its bytes. */
export function gatherWrites(
  pass: (offset: number, bytes: Uint8Array<ArrayBuffer>) => Promise<void> | void,
): GatheredWrites {
  /** The one that grew last stands last. */
  let regions: Region[] = [];
  const release = async (region: Region): Promise<void> => {
    regions = regions.filter((one) => one !== region);
    const { offset, length, buffer } = region;
    await pass(offset, length === buffer.length ? buffer : buffer.slice(0, length));
  };
  return {
    async write(offset, bytes) {
      for (let done = 0; done < bytes.length; ) {
        const at = offset + done;
        let region = regions.find((one) => one.offset + one.length === at);
        if (region === undefined) {
          const [oldest] = regions;
          if (oldest !== undefined && regions.length === REGIONS) await release(oldest);
          region = { offset: at, length: 0, buffer: new Uint8Array(REGION_BYTES) };
        }
        const part = bytes.subarray(done, done + region.buffer.length - region.length);
        region.buffer.set(part, region.length);
        region.length += part.length;
        done += part.length;
        const grown = region;
        regions = [...regions.filter((one) => one !== grown), grown];
        if (region.length === region.buffer.length) await release(region);
      }
    },
    async flush() {
      for (const region of regions.toSorted((a, b) => a.offset - b.offset)) await release(region);
    },
  };
}
