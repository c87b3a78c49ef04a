"""The one table: operation → the function that answers it."""

from __future__ import annotations

from collections.abc import Mapping

from authz.emulator import decisions, identity_sources
from authz.emulator.operations import Handler, aliases, policies, policy_writes, schema, stores, tags, templates

HANDLERS: Mapping[str, Handler] = {
    "IsAuthorized": decisions.is_authorized,
    "IsAuthorizedWithToken": decisions.is_authorized_with_token,
    "BatchIsAuthorized": decisions.batch_is_authorized,
    "BatchIsAuthorizedWithToken": decisions.batch_is_authorized_with_token,
    "CreatePolicyStore": stores.create_policy_store,
    "GetPolicyStore": stores.get_policy_store,
    "UpdatePolicyStore": stores.update_policy_store,
    "DeletePolicyStore": stores.delete_policy_store,
    "ListPolicyStores": stores.list_policy_stores,
    "CreatePolicyStoreAlias": aliases.create_policy_store_alias,
    "GetPolicyStoreAlias": aliases.get_policy_store_alias,
    "ListPolicyStoreAliases": aliases.list_policy_store_aliases,
    "DeletePolicyStoreAlias": aliases.delete_policy_store_alias,
    "TagResource": tags.tag_resource,
    "UntagResource": tags.untag_resource,
    "ListTagsForResource": tags.list_tags_for_resource,
    "PutSchema": schema.put_schema,
    "GetSchema": schema.get_schema,
    "CreatePolicy": policy_writes.create_policy,
    "GetPolicy": policies.get_policy,
    "UpdatePolicy": policy_writes.update_policy,
    "DeletePolicy": policies.delete_policy,
    "ListPolicies": policies.list_policies,
    "BatchGetPolicy": policies.batch_get_policy,
    "CreatePolicyTemplate": templates.create_policy_template,
    "GetPolicyTemplate": templates.get_policy_template,
    "UpdatePolicyTemplate": templates.update_policy_template,
    "DeletePolicyTemplate": templates.delete_policy_template,
    "ListPolicyTemplates": templates.list_policy_templates,
    "CreateIdentitySource": identity_sources.create_identity_source,
    "GetIdentitySource": identity_sources.get_identity_source,
    "UpdateIdentitySource": identity_sources.update_identity_source,
    "DeleteIdentitySource": identity_sources.delete_identity_source,
    "ListIdentitySources": identity_sources.list_identity_sources,
}
