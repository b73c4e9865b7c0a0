from likeness import Client

with Client() as client:  # with an admin key in LIKENESS_API_KEY
    client.create_key("acme")
    for key in client.api_keys(tenant_id="acme"):
        print(key.id, key.tenant_id, key.scope, key.display_name)
