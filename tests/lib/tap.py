"""tap.py - what the stories in Python share: TAP lines, children that are ended, and an end that is told

    ok(cond, what, note)        passes if it is true; the note says more when it is not
    equal(got, want, what)      passes if both are equal
    refused(call, name, what)   passes if sluisd refuses with that code
    children                    whatever was started: ended when the story ends
    tell(main)                  runs the story, prints the plan, and ends the process
"""
import os
import sys
import traceback

from sluis_client import Refused

children = []
count = failures = 0


def ok(cond, what, note=""):
    global count, failures
    count += 1
    failures += not cond
    print(f"{'ok' if cond else 'not ok'} {count} - {what}", flush=True)
    if not cond and note != "":
        print("# " + str(note).replace("\n", "\n# "), flush=True)
    return bool(cond)


def equal(got, want, what):
    return ok(got == want, what, f"got: {got!r}\nwant: {want!r}")


def refused(call, name, what):
    """`call` is refused with the code called `name`; returns the refusal."""
    try:
        got = call()
    except Refused as e:
        equal(e.name, name, what)
        return e
    ok(False, what, f"it was not refused: {got!r}")
    return Refused(0, "")


def tell(main):
    try:
        main()
    except Refused as e:
        ok(False, f"refused: {e}")
    except Exception as e:  # noqa: BLE001 - no answer, or an end that did not come: a failure, and says where
        ok(False, f"the story came to its end: {type(e).__name__}", traceback.format_exc())
    finally:
        for p in children:
            if p.poll() is None:
                p.kill()
                p.wait()
    print(f"1..{count}")
    sys.stdout.flush()
    os._exit(failures > 0)  # threads of sockets that were never closed do not keep it
