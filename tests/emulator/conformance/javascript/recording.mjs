// A client of the AWS SDK for JavaScript that keeps each response as it came, before the SDK reads it.

import { createRequire } from "node:module";
import { join } from "node:path";
import { Readable } from "node:stream";

// The SDK is installed beside the tools, not beside this file.
const load = createRequire(join(process.env.AUTHZ_TOOLS, "javascript", "package.json"));
export const sdk = load("@aws-sdk/client-verifiedpermissions");

export const responses = [];

const keep = (next, context) => async (args) => {
  const result = await next(args);
  const { response } = result;
  const parts = [];
  for await (const part of response.body) parts.push(part);
  const body = Buffer.concat(parts);
  responses.push({
    operation: context.commandName.replace(/Command$/, ""),
    status: response.statusCode,
    headers: response.headers,
    body: body.toString("base64"),
  });
  response.body = Readable.from([body], { objectMode: false });
  return result;
};

export function client(url, options = {}) {
  const made = new sdk.VerifiedPermissionsClient({
    endpoint: url,
    region: "us-east-1",
    credentials: { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "none" },
    maxAttempts: 1,
    ...options,
  });
  // Low priority is next to the network: below it nothing has read the body yet.
  made.middlewareStack.add(keep, { step: "deserialize", priority: "low", name: "keep" });
  return made;
}

// What the SDK gave, as JSON; a Date is told from a text.
export function shown(value) {
  if (value instanceof Date) return { date: value.toISOString() };
  if (Array.isArray(value)) return value.map(shown);
  if (value === null || typeof value !== "object") return value;
  const members = Object.entries(value).filter(([name]) => name !== "$metadata");
  return Object.fromEntries(members.map(([name, member]) => [name, shown(member)]));
}

export async function failure(promise) {
  try {
    return { answer: shown(await promise) };
  } catch (error) {
    const known = typeof sdk[error.name] === "function" && error instanceof sdk[error.name];
    const { name, message, resourceId, resourceType, resources, fieldList } = error;
    const members = shown({ resourceId, resourceType, resources, fieldList });
    return { name, message, known, status: error.$metadata?.httpStatusCode, ...members };
  }
}
