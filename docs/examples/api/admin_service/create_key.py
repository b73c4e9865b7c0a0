from likeness import Client, KeyScope

with Client() as client:  # with an admin key in LIKENESS_API_KEY
    made = client.create_key("acme", scope=KeyScope.RUN, display_name="for the nightly runs")
    print(made.key.id, made.text)
