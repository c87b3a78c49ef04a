// Goes through every operation with the AWS SDK for JavaScript and prints what it saw, as one JSON document.
// Standard input: {url, schema, cognito, oidc, accessToken, identityToken}.

import { client, failure, responses, sdk, shown } from "./recording.mjs";

const given = JSON.parse(await new Response(process.stdin).text());
const plain = client(given.url);
const call = async (name, input = {}) => shown(await plain.send(new sdk[`${name}Command`](input)));
const fails = (name, input = {}) => failure(plain.send(new sdk[`${name}Command`](input)));

const user = (entityId) => ({ entityType: "App::User", entityId });
const doc = (entityId) => ({ entityType: "App::Doc", entityId });
const action = (actionId) => ({ actionType: "App::Action", actionId });
const permit = 'permit(principal == App::User::"alice", action == App::Action::"read", resource == App::Doc::"d1");';
const template = "permit(principal == ?principal, action, resource == ?resource);";

async function newStore(schema = given.schema, mode = "STRICT") {
  const { policyStoreId } = await call("CreatePolicyStore", { validationSettings: { mode } });
  if (schema) await call("PutSchema", { policyStoreId, definition: { cedarJson: JSON.stringify(schema) } });
  return policyStoreId;
}

async function stores() {
  const made = await call("CreatePolicyStore", {
    validationSettings: { mode: "OFF" },
    description: "first",
    deletionProtection: "ENABLED",
    tags: { team: "a" },
  });
  const { policyStoreId, arn } = made;
  const tagged = await call("GetPolicyStore", { policyStoreId, tags: true });
  const guarded = await fails("DeletePolicyStore", { policyStoreId });
  const updated = await call("UpdatePolicyStore", {
    policyStoreId,
    validationSettings: { mode: "STRICT" },
    deletionProtection: "DISABLED",
  });
  await call("TagResource", { resourceArn: arn, tags: { more: "b" } });
  await call("UntagResource", { resourceArn: arn, tagKeys: ["team"] });
  const { tags } = await call("ListTagsForResource", { resourceArn: arn });
  const listed = await call("ListPolicyStores", { maxResults: 50 });
  const removed = await call("DeletePolicyStore", { policyStoreId });
  const gone = await fails("GetPolicyStore", { policyStoreId });
  return { made, tagged, guarded, updated, tags, listed, removed, gone };
}

async function aliases() {
  const policyStoreId = await newStore(null);
  const aliasName = "policy-store-alias/javascript";
  const made = await call("CreatePolicyStoreAlias", { aliasName, policyStoreId });
  const got = await call("GetPolicyStoreAlias", { aliasName });
  const listed = await call("ListPolicyStoreAliases", { filter: { policyStoreId } });
  const through = await call("GetPolicyStore", { policyStoreId: aliasName });
  await call("DeletePolicyStoreAlias", { aliasName });
  const pending = await call("GetPolicyStoreAlias", { aliasName });
  await call("DeletePolicyStoreAlias", { aliasName, deletionMode: "HardDelete" });
  return { policyStoreId, made, got, listed, through, pending, gone: await fails("GetPolicyStoreAlias", { aliasName }) };
}

async function schema() {
  const policyStoreId = await newStore(null);
  const definition = { cedarJson: JSON.stringify(given.schema) };
  const put = await call("PutSchema", { policyStoreId, definition });
  return { put, got: await call("GetSchema", { policyStoreId }) };
}

async function policies() {
  const policyStoreId = await newStore();
  const definition = { static: { statement: permit, description: "one" } };
  const made = await call("CreatePolicy", { policyStoreId, definition, name: "name/one" });
  const got = await call("GetPolicy", { policyStoreId, policyId: "name/one" });
  const updated = await call("UpdatePolicy", {
    policyStoreId,
    policyId: made.policyId,
    definition: { static: { statement: permit.replace('"read"', '"write"'), description: "two" } },
  });
  const listed = await call("ListPolicies", { policyStoreId });
  const batch = await call("BatchGetPolicy", {
    requests: [made.policyId, "missing"].map((policyId) => ({ policyStoreId, policyId })),
  });
  const removed = await call("DeletePolicy", { policyStoreId, policyId: made.policyId });
  return { made, got, updated, listed, batch, removed };
}

async function templates() {
  const policyStoreId = await newStore();
  const { policyTemplateId } = await call("CreatePolicyTemplate", { policyStoreId, statement: template, name: "name/t" });
  const slots = { principal: user("bob"), resource: doc("d2") };
  const linked = await call("CreatePolicy", { policyStoreId, definition: { templateLinked: { policyTemplateId, ...slots } } });
  const got = await call("GetPolicyTemplate", { policyStoreId, policyTemplateId: "name/t" });
  const listed = await call("ListPolicyTemplates", { policyStoreId });
  const question = { policyStoreId, ...slots, action: action("write") };
  const before = await call("IsAuthorized", question);
  await call("UpdatePolicyTemplate", {
    policyStoreId,
    policyTemplateId,
    statement: template.replace("action", 'action == App::Action::"read"'),
  });
  const after = await call("IsAuthorized", question);
  const removed = await call("DeletePolicyTemplate", { policyStoreId, policyTemplateId });
  const left = await call("ListPolicies", { policyStoreId });
  return { linked, got, listed, before, after, removed, left };
}

async function decisions() {
  const policyStoreId = await newStore(given.schema, "OFF");
  const statement = 'permit(principal, action, resource) when { principal.level >= 3 && resource.getTag("zone") == "eu" };';
  const { policyId } = await call("CreatePolicy", { policyStoreId, definition: { static: { statement } } });
  const entities = {
    entityList: [
      { identifier: user("alice"), attributes: { level: { long: 3 } } },
      { identifier: doc("d1"), tags: { zone: { string: "eu" } } },
    ],
  };
  const question = { principal: user("alice"), action: action("read"), resource: doc("d1") };
  const allowed = await call("IsAuthorized", { policyStoreId, ...question, entities });
  const erred = await call("IsAuthorized", { policyStoreId, ...question });
  const requests = ["d1", "d2"].map((name) => ({ ...question, resource: doc(name) }));
  const batch = await call("BatchIsAuthorized", { policyStoreId, requests, entities });
  return { policyId, allowed, erred, batch };
}

async function tokens() {
  const policyStoreId = await newStore(given.schema, "OFF");
  const statement = 'permit(principal, action, resource) when { context.token.scope.contains("docs/read") };';
  await call("CreatePolicy", { policyStoreId, definition: { static: { statement } } });
  const source = { policyStoreId, configuration: given.cognito, principalEntityType: "App::User" };
  const { identitySourceId } = await call("CreateIdentitySource", source);
  const got = await call("GetIdentitySource", { policyStoreId, identitySourceId });
  const question = { policyStoreId, action: action("read"), resource: doc("d1") };
  const allowed = await call("IsAuthorizedWithToken", { ...question, accessToken: given.accessToken });
  const denied = await call("IsAuthorizedWithToken", { ...question, identityToken: given.identityToken });
  const wrong = await fails("IsAuthorizedWithToken", { ...question, identityToken: given.accessToken });
  const requests = [{ action: action("read"), resource: doc("d1") }];
  const batch = await call("BatchIsAuthorizedWithToken", { policyStoreId, accessToken: given.accessToken, requests });
  const second = await fails("CreateIdentitySource", source);
  await call("UpdateIdentitySource", { policyStoreId, identitySourceId, updateConfiguration: given.oidc });
  const listed = await call("ListIdentitySources", { policyStoreId });
  const removed = await call("DeleteIdentitySource", { policyStoreId, identitySourceId });
  return { got, allowed, denied, wrong, batch, second, listed, removed };
}

async function pages() {
  const policyStoreId = await newStore();
  const definition = { static: { statement: permit } };
  for (let n = 0; n < 5; n += 1) {
    await call("CreatePolicy", { policyStoreId, definition });
    await call("CreatePolicyTemplate", { policyStoreId, statement: template });
    await call("CreatePolicyStoreAlias", { policyStoreId, aliasName: `policy-store-alias/js-${n}` });
  }
  await call("CreateIdentitySource", { policyStoreId, configuration: given.cognito, principalEntityType: "App::User" });
  const found = {};
  for (const [name, list, id] of [
    ["ListPolicies", "policies", "policyId"],
    ["ListPolicyTemplates", "policyTemplates", "policyTemplateId"],
    ["ListPolicyStores", "policyStores", "policyStoreId"],
    ["ListPolicyStoreAliases", "policyStoreAliases", "aliasName"],
    ["ListIdentitySources", "identitySources", "identitySourceId"],
  ]) {
    const input = name.startsWith("ListPolicyStore") ? {} : { policyStoreId };
    found[name] = [];
    for await (const page of sdk[`paginate${name}`]({ client: plain, pageSize: 2 }, input)) {
      found[name].push(page[list].map((one) => one[id]));
    }
  }
  return found;
}

async function errors() {
  const policyStoreId = await newStore();
  const named = { policyStoreId, statement: template, name: "name/javascript" };
  await call("CreatePolicyTemplate", named);
  const { arn } = await call("GetPolicyStore", { policyStoreId });
  return {
    validation: await fails("ListPolicies", { policyStoreId, maxResults: 51 }),
    missing: await fails("GetPolicy", { policyStoreId, policyId: "missing" }),
    conflict: await fails("CreatePolicyTemplate", named),
    tags: await fails("TagResource", {
      resourceArn: arn,
      tags: Object.fromEntries(Array.from({ length: 51 }, (_, n) => [`k${n}`, ""])),
    }),
  };
}

async function faults() {
  const put = (...kinds) =>
    fetch(`${given.url}/_emulator/switches`, {
      method: "PUT",
      body: JSON.stringify({ faults: kinds.map((kind) => ({ kind, operation: "ListPolicyStores", calls: 1 })) }),
    });
  const found = {};
  for (const kind of ["throttle", "denied", "error"]) {
    await put(kind);
    found[kind] = await fails("ListPolicyStores");
  }
  await put("throttle");
  const patient = client(given.url, { maxAttempts: 2 });
  const answer = await patient.send(new sdk.ListPolicyStoresCommand({}));
  return { ...found, attempts: answer.$metadata.attempts, requestId: answer.$metadata.requestId };
}

const steps = { stores, aliases, schema, policies, templates, decisions, tokens, pages, errors, faults };
const seen = {};
for (const [name, step] of Object.entries(steps)) {
  try {
    seen[name] = await step();
  } catch (error) {
    seen[name] = { broken: `${error.name}: ${error.message}`, at: error.stack };
  }
}
const commands = Object.keys(sdk).filter((name) => /^[A-Z].*Command$/.test(name) && name !== "$Command");
process.stdout.write(JSON.stringify({ seen, responses, commands: commands.map((name) => name.slice(0, -7)) }));
