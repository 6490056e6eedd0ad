"""Every error that Headrace raises itself.

    HeadraceError
    ├── RecordError           the record is bad: it goes to the error topic, the rest goes on
    │   └── UndecodableError  its bytes are not what the schema says
    ├── DeliveryError         the whole file is bad: the delivery is rejected with the reason
    ├── UnavailableError      the world is briefly bad: retry with back-off
    │   ├── NotCommittedError     certainly not committed: the same work may be done again
    │   │   └── RegroupedError    the group divides its partitions anew: start over at its offsets
    │   └── CommitUnknownError    nobody knows whether it was committed: look before doing it again
    ├── AlreadyExistsError    a put-if-absent lost: somebody wrote this object first
    ├── NotFoundError         an object that was asked for is not in the blob store
    ├── FencedError           another process took over this work: stop
    └── FaultError            we are bad, or were set up badly: stop loudly
        ├── SettingError          a setting is wrong
        ├── IncompatibleSchemaError   a schema would break its readers
        ├── MissingPartError      something that must run or be installed is not there
        └── CorruptLakeError      an object of the lake is not what its name or metadata says

A message states what was expected, what was found and what to do.
"""


class HeadraceError(Exception):
    """The root of all errors below."""


class RecordError(HeadraceError):
    """One record is bad."""


class UndecodableError(RecordError):
    """The bytes of a message do not decode with the schema that they name."""


class DeliveryError(HeadraceError):
    """A delivered file is unreadable as a whole; the text is the reason the customer is given."""


class UnavailableError(HeadraceError):
    """A server did not answer in time, or could not be reached."""


class NotCommittedError(UnavailableError):
    """A write certainly did not take place."""


class RegroupedError(NotCommittedError):
    """What was in hand was made as a member of a group that has moved on; the transaction was aborted."""


class CommitUnknownError(UnavailableError):
    """A write may or may not have taken place."""


class AlreadyExistsError(HeadraceError):
    """The object of a put-if-absent exists already."""


class NotFoundError(HeadraceError):
    """The object that was asked for is not in the blob store."""


class FencedError(HeadraceError):
    """A newer process with the same name has taken over."""


class FaultError(HeadraceError):
    """Headrace is set up wrongly or is wrong itself."""


class SettingError(FaultError):
    """A setting has a value that cannot be meant."""


class IncompatibleSchemaError(FaultError):
    """A schema is refused because readers or writers of the older one would break."""


class MissingPartError(FaultError):
    """A server, program or port that is needed cannot be had."""


class CorruptLakeError(FaultError):
    """An object in the lake contradicts its name, metadata or manifest."""
