"""The labelling page: people compare clips or texts in a browser, and no answer is lost.

One web server process. It talks to the label store and to a folder of media, and reads a few files
of the run to report its progress. If the process dies, training continues.

::

    config.py         what is served, where, and to whom
    serve.py          runs the server until told to stop
    app.py            puts the application together
    guard.py          checks every request: host, origin, session, token, size, headers
    people.py         who may sign in: links that work once, and sessions
    labelling.py      the page's routes: the next pairs, and the answers to them
    tasks.py          which pairs a person gets next, and which side is on the left
    writer.py         the only thread that writes: one commit for the answers of several people
    study.py          for the person who runs a study: statistics, people, download
    agreement.py      how well labels agree; statistics.py: how reliable each person is
    static/           the page itself: HTML, CSS and JavaScript as they are sent
"""
