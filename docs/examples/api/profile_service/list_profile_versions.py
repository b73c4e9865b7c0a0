from likeness import Client

with Client() as client:
    client.create_profile("anna")
    for version in client.profile_versions("anna"):
        print(version.number, version.revision, version.create_time)
