package figure

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestClip(t *testing.T) {
	for _, c := range []struct {
		s    string
		n    int
		want string
	}{
		{"", 3, ""},
		{"door", 4, "door"},
		{"doors", 4, "d…"},
		{"doors", 3, "…"},
		{"käse", 4, "k…"},
		{"käsebrot", 6, "kä…"},
		{"käsebrot", 5, "k…"},
		{"🚪🚪", 8, "🚪🚪"},
		{"🚪🚪", 7, "🚪…"},
		{"🚪🚪", 6, "…"},
		{strings.Repeat("\x80", 20), 10, strings.Repeat("\x80", 4) + "…"},
	} {
		if got := Clip(c.s, c.n); got != c.want {
			t.Errorf("%q at %d is %q, want %q", c.s, c.n, got, c.want)
		}
	}
}

func FuzzClip(f *testing.F) {
	f.Add("käsebrot 🚪 \xff\x80", 7)
	f.Fuzz(func(t *testing.T, s string, n int) {
		n = 3 + max(0, n)%100
		got := Clip(s, n)
		switch {
		case len(s) <= n && got != s:
			t.Errorf("%q fits %d and became %q", s, n, got)
		case len(got) > n:
			t.Errorf("%q at %d has %d bytes", s, n, len(got))
		case utf8.ValidString(s) && !utf8.ValidString(got):
			t.Errorf("%q at %d is cut within a character: %q", s, n, got)
		case got != s && !strings.HasPrefix(s, strings.TrimSuffix(got, mark)):
			t.Errorf("%q at %d became %q", s, n, got)
		}
	})
}
