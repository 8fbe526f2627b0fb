"""Everything a user can be told went wrong.

PipelineError             exit code 1
  UsageError              exit code 2: the command's words are off
  DataError               a source, shard or manifest is not what it should be
    CorruptSample         one sample cannot be read; the others may be fine
  ServiceUnavailable      S3, MLflow or Ray cannot be reached or refuses us
  TrialFailed             one training ended without a result
  MachineLeaves           a training has to go on elsewhere

A message is one line: what, what was got, what was wanted, what to do next.
"""


class PipelineError(Exception):
    """Any failure with a message meant for the person at the keyboard."""

    exit_code = 1


class UsageError(PipelineError):
    """The command was asked for something it cannot do."""

    exit_code = 2


class DataError(PipelineError):
    """Images, labels, shards or a manifest are missing, damaged or inconsistent."""


class CorruptSample(DataError):
    """A sample is missing from its shard, damaged, or no picture."""


class ServiceUnavailable(PipelineError):
    """A service does not answer, or answers that we may not."""


class TrialFailed(PipelineError):
    """A training ended without a result."""


class MachineLeaves(PipelineError):
    """The machine that trains is about to be taken away; the training is kept as far as it is."""


def one_line(error: BaseException) -> str:
    """Return what an error of someone else's says, in a line of a message of ours."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
