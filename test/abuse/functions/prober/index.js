/** Tries one thing per request, `/<group>/<probe>?<arguments>`, and answers with what it managed: a JSON value, or the code of
 *  the error that stopped it. */

export default async function probe(request) {
  const { pathname, searchParams } = new URL(request.url);
  const [, group, name] = pathname.split('/');
  return Response.json(await run(group, name, Object.fromEntries(searchParams)));
}

export async function run(group, name, args) {
  try {
    const probes = await import(`./${group}.js`);
    return (await probes[name](args)) ?? null;
  } catch (error) {
    return error.code ?? String(error);
  }
}
