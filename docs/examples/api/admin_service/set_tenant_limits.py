from likeness import Client, TenantLimits

with Client() as client:  # with an admin key in LIKENESS_API_KEY
    limits = client.set_tenant_limits("acme", TenantLimits(requests_per_second=50, images_per_day=10_000))
    print(limits)
