// How the pages ask weir's API (docs/api.md).

// ask returns the answer's body, or throws what weir says is wrong, with the HTTP status if there is one.
export async function ask(path, params) {
  const query = new URLSearchParams(params).toString();
  let answer;
  try {
    answer = await fetch(query ? `${path}?${query}` : path);
  } catch {
    throw new Error('weir does not answer');
  }
  const body = await answer.json().catch(() => null);
  if (!answer.ok) throw Object.assign(new Error(body && body.error ? body.error : `weir answered ${answer.status}`), {status: answer.status});
  if (body === null) throw new Error('weir gave an answer that is not JSON');
  return body;
}
