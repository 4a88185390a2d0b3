"""The labelling page: people compare clips or texts in a browser, and no answer is lost.

One web server process, which talks to the label store and to a folder of media, and reads a few
files of the run to say how it is going. If it dies, training goes on.

::

    config.py         what is served, where, and to whom
    serve.py          runs the server until told to stop
    app.py            puts the application together
    guard.py          every request passes here: host, origin, session, token, size, headers
    people.py         who may come in: links that work once, sessions
    labelling.py      what the page asks for: pairs to compare, and what becomes of the answers
    tasks.py          which pairs a person gets next, and how they lie on the screen
    writer.py         one thread that writes: answers of several people in one commit
    study.py          for the person who runs a study: statistics, people, download
    agreement.py      how far labels agree; statistics.py: and how far each person can be relied on
    static/           the page itself: HTML, CSS and JavaScript as they are sent
"""
