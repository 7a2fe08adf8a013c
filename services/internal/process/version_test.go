package process

import (
	"runtime"
	"testing"
)

func TestDescribe(t *testing.T) {
	const sha = "0123456789abcdef0123456789abcdef01234567"
	defer func(v, c string) { version, commit = v, c }(version, commit)
	for name, tc := range map[string]struct{ version, commit, want string }{
		"a release":                  {"v1.2.3", sha, "v1.2.3, commit 0123456789ab, "},
		"a version with the commit":  {"v0.0.0-20261128120000-0123456789ab", sha, "v0.0.0-20261128120000-0123456789ab, "},
		"a commit without a version": {sha, sha, sha + ", "},
	} {
		version, commit = tc.version, tc.commit
		if got, want := Describe(), tc.want+runtime.Version(); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}
