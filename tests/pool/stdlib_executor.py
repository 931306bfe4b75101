"""The standard library's own tests of executors, run on the executor of a running pool: a script for ranks.

They are imported from the interpreter's ``test`` package, which has them in this form since Python 3.13.

``stdlib_executor.py quick`` runs those that take no longer than a moment, ``all`` the others too, ``isolated`` all
and those that end the process of the task, with isolated tasks.
"""

import faulthandler
import sys
import unittest

from mpidriver.pool import launch

SLOW = {
    "test_20369",
    "test_all_completed",
    "test_duplicate_futures",
    "test_first_completed",
    "test_first_completed_some_already_completed",
    "test_first_exception",
    "test_first_exception_one_already_failed",
    "test_first_exception_some_already_complete",
    "test_future_times_out",
    "test_map_timeout",
}
"""They take a second or more."""
PRIVATE = {
    "test_gh105829_should_not_deadlock_if_wakeup_pipe_full",
    "test_hang_gh83386",
    "test_interpreter_shutdown",
    "test_shutdown_deadlock_pickle",
    "test_submit_after_interpreter_shutdown",
}
"""They look into the classes of the standard library, or start a program that names them."""
CRASHES = {
    "test_crash_at_task_unpickle",
    "test_crash_big_data",
    "test_crash_during_func_exec_on_worker",
    "test_crash_during_result_pickle_on_worker",
    "test_shutdown_deadlock",
}
"""The process of the task dies."""
PICKLING = {
    "test_error_at_task_pickle",
    "test_error_at_task_unpickle",
    "test_error_during_result_pickle_on_worker",
    "test_error_during_result_unpickle_in_result_handler",
    "test_exit_at_task_unpickle",
    "test_exit_during_result_pickle_on_worker",
    "test_exit_during_result_unpickle_in_result_handler",
    "test_traceback",
}
"""Of what becomes of pickles: in one process nothing is pickled."""


def cases(pool, **terms):
    """Return the cases of the standard library, for executors of this pool."""
    from test.test_concurrent_futures import (
        executor,
        test_as_completed,
        test_deadlock,
        test_init,
        test_process_pool,
        test_shutdown,
        test_wait,
        util,
    )

    class OnPool:
        @staticmethod
        def executor_type(max_workers=None, mp_context=None, **kwargs):
            return pool.executor(max_workers, **kwargs, **terms)

        def get_context(self):
            return None

    class ExecutorAndTraceback(executor.ExecutorTest):
        test_map_chunksize = test_process_pool.ProcessPoolExecutorTest.test_map_chunksize
        test_traceback = test_process_pool.ProcessPoolExecutorTest.test_traceback
        _test_traceback = test_process_pool.ProcessPoolExecutorTest._test_traceback

    def case(name, tests):
        return type(name, (OnPool, tests, util.ExecutorMixin, util.BaseTestCase), {"__module__": tests.__module__})

    return [
        case("Executor", ExecutorAndTraceback),
        case("Wait", test_wait.WaitTests),
        case("AsCompleted", test_as_completed.AsCompletedTests),
        case("Initializer", test_init.InitializerMixin),
        case("FailingInitializer", test_init.FailingInitializerMixin),
        case("Shutdown", test_shutdown.ExecutorShutdownTest),
        case("Deadlock", test_deadlock.ExecutorDeadlockTest),
    ]


def main(pool, which, pattern=""):
    left_out = PRIVATE | (SLOW if which == "quick" else set())
    if which != "isolated":
        left_out |= CRASHES | (PICKLING if pool.size == 1 else set())
    suite = unittest.TestSuite()
    for case in cases(pool, isolate=which == "isolated"):
        for name in unittest.defaultTestLoader.getTestCaseNames(case):
            if name not in left_out and pattern in name:
                suite.addTest(case(name))
    print(f"{suite.countTestCases()} cases on {pool.size} ranks", flush=True)
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)
    assert result.wasSuccessful()
    print("all done")


if __name__ == "__main__":
    faulthandler.dump_traceback_later(200, exit=True)
    launch(main, *sys.argv[1:])
