from likeness import Client

with Client() as client:
    client.create_profile("anna")
    client.fit_profile("anna", rankings=[("target.png", ["best.png", "other.png"])])
    profile = client.activate_profile_version("anna", 1)
    print(profile.active.number)
