/** Which sandbox fits a revision: what is fixed when a sandbox starts, and so decides which pool it comes from. */

import type { RevisionRecord } from '../../core/records.ts';
import type { UnpackedImage } from '../images.ts';
import type { SandboxClass } from '../sandbox/sandbox.ts';

export function classOf({ spec }: Pick<RevisionRecord, 'spec'>, { rootfs }: UnpackedImage): SandboxClass {
  return { rootfs, memory: spec.memory, egress: spec.network.egress };
}
