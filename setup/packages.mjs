/** Installs the system's packages that are missing, and only those, after saying which and why. With apt as root or through
 *  sudo; anywhere else it names what to install. */

import { existsSync } from 'node:fs';
import { SetupError } from './failure.mjs';
import { runQuietly } from './quietly.mjs';
import { findProgram } from './programs.mjs';
import { canSudo, isRoot } from './root.mjs';
import { REQUIREMENTS } from './table.mjs';

/** @import { Purpose, Requirement } from './table.mjs' */

/** @param {Purpose} purpose @param {(name: string) => unknown} find @param {(file: string) => boolean} exists
 *  @returns {Requirement[]} */
export function missingFor(purpose, find = findProgram, exists = existsSync) {
  return REQUIREMENTS.filter(
    (one) =>
      one.for.includes(purpose) && !one.programs.some((name) => find(name)) && !one.files?.some((file) => exists(file)),
  );
}

/** @param {Purpose} purpose */
export async function ensurePackages(purpose) {
  const missing = missingFor(purpose);
  if (missing.length === 0) return;
  const needed = missing.map((one) => `${one.package} (${one.why})`).join(', ');
  const install = commandFor(missing);
  if (!findProgram('apt-get')) throw new SetupError(`missing here: ${needed}`, `Install them: ${install}`);
  if (!isRoot() && !canSudo()) {
    throw new SetupError(`missing here: ${needed}`, `Root may install them: sudo ${install}`);
  }
  console.log(`Installing Debian packages${isRoot() ? '' : ' with sudo'}: ${needed}`);
  const script = installScript(missing.map((one) => one.package));
  const command = isRoot() ? ['sh', '-c', script] : ['sudo', 'sh', '-c', script];
  const failed = await runQuietly('apt-get', command);
  const still = missingFor(purpose);
  if (!failed && still.length === 0) return;
  const names = still.map((one) => one.package).join(', ');
  throw new SetupError(`could not install ${names}${failed ? `:\n${failed}` : ''}`, `Install by hand: sudo ${install}`);
}

/** The command for this system's package manager.
 *  @param {readonly Requirement[]} missing @param {(name: string) => unknown} find */
export function commandFor(missing, find = findProgram) {
  /** @param {'dnf' | 'pacman' | 'apk'} manager */
  const names = (manager) => missing.map((one) => one.elsewhere[manager]).join(' ');
  const debian = `apt-get install ${missing.map((one) => one.package).join(' ')}`;
  if (find('apt-get')) return debian;
  if (find('dnf')) return `dnf install ${names('dnf')}`;
  if (find('pacman')) return `pacman -S ${names('pacman')}`;
  if (find('apk')) return `apk add ${names('apk')}`;
  return `${debian} (Fedora: ${names('dnf')}; Arch: ${names('pacman')}; Alpine: ${names('apk')})`;
}

/** Packages that come with one. */
const SERVICES = ['redis-server', 'nginx', 'prometheus'];

/** Debian starts a service as soon as it is installed, and at every boot: its Redis, nginx and Prometheus would run for nothing, on
 *  ports of their own. policy-rc.d is its way to say no; where there is one already, that one decides.
 *  @param {readonly string[]} packages */
function installScript(packages) {
  const names = packages.join(' ');
  const services = packages.filter((name) => SERVICES.includes(name)).join(' ');
  return `
set -eu
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap 'rm -f $policy' EXIT
  trap 'exit 1' INT TERM HUP
  printf '#!/bin/sh\\nexit 101\\n' >$policy
  chmod 755 $policy
fi
install() {
  apt-get -o DPkg::Lock::Timeout=120 install -y --no-install-recommends ${names} </dev/null
}
# The lists are often empty in a fresh container, or older than what the mirror still has.
if ! apt-get install --simulate ${names} >/dev/null 2>&1 || ! install; then
  apt-get -o DPkg::Lock::Timeout=120 update
  install
fi
${services && `if [ -d /run/systemd/system ]; then systemctl disable --quiet ${services} || true; fi`}
`;
}
