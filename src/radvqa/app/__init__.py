"""The web app: people review questions, rate answers and look inside the model.

In: corpus folders, run folders and a database for what people say. Out: pages on localhost.

    radvqa app --corpus runs/demo/corpora/phantom --run runs/demo
"""
