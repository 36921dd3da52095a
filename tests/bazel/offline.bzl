"""Local stand-ins that let Bazel 4 run the tests without any download."""

def _files_impl(ctx):
    for path, content in ctx.attr.files.items():
        ctx.file(path, content, executable = path.endswith(".sh"))

_files = repository_rule(
    implementation = _files_impl,
    attrs = {"files": attr.string_dict()},
)

def _native(name, package, symbols):
    _files(
        name = name,
        files = {
            package + "/BUILD": "",
            package + "/defs.bzl": "".join(["%s = native.%s\n" % (s, s) for s in symbols]),
        },
    )

def offline_repositories(pypi):
    """Declares every repository that `bazel test` needs.

    Args:
      pypi: names of the packages that the running Python has installed.
    """
    _native("rules_python", "python", ["py_binary", "py_library", "py_test"])
    _native("rules_cc", "cc", ["cc_binary", "cc_library", "cc_test", "cc_toolchain", "cc_toolchain_suite"])
    _native("rules_java", "java", ["java_binary", "java_import", "java_library", "java_runtime", "java_toolchain"])
    _files(
        name = "remote_coverage_tools",
        files = {
            "BUILD": "".join([
                "sh_binary(name = \"%s\", srcs = [\"noop.sh\"], visibility = [\"//visibility:public\"])\n" % tool
                for tool in ["coverage_report_generator", "lcov_merger"]
            ]),
            "noop.sh": "#!/bin/sh\n",
        },
    )
    _files(
        name = "pypi",
        files = {
            p + "/BUILD": "py_library(name = \"%s\", visibility = [\"//visibility:public\"])\n" % p
            for p in pypi
        },
    )
