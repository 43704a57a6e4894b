/**
 * Where bytes come from and where they go. Formats read through a `ByteSource` and write through a `ByteSink`;
 * neither knows whether that is a file, memory or a Blob. Every implementation passes the suite in
 * test/io/byte-source.suite.ts.
 */

export interface ByteSource {
  /** As the user named it; used in messages. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Absolute path where this is a regular file on disk, which lets a worker thread open and read it by itself. */
  readonly path?: string | undefined;
  /**
   * Fills `target` with the bytes at `offset`. Reads all of it or throws: E_TRUNCATED where the source ends
   * before, E_IO where reading fails. Never leaves stale bytes behind silently.
   */
  readInto(offset: number, target: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

export interface ByteSink {
  readonly name: string;
  /** Absolute path of the (temporary) file on disk being written, which lets a worker thread write into it by itself. */
  readonly path?: string | undefined;
  /** Writes all of `bytes` at `offset` (positions may come in any order), or throws E_NO_SPACE, E_IO, E_ACCESS. */
  write(offset: number, bytes: Uint8Array): Promise<void>;
  /** Makes the output appear under its final name, complete and flushed. */
  commit(): Promise<void>;
  /** Throws everything away; nothing is left under the final name or beside it. Safe to call after a failure. */
  abort(): Promise<void>;
}

/** Opens the files that stand beside a model (external data) by bare relative name, without leaving its folder. */
export interface SiblingOpener {
  open(location: string): Promise<ByteSource>;
}
