from likeness import Client

with Client() as client:  # with an admin key in LIKENESS_API_KEY
    tenant = client.tenant("acme")
    print("used today:", tenant.images, "of", tenant.effective.images_per_day or "any number of", "pictures")
