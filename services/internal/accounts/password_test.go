package accounts

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestPasswords(t *testing.T) {
	h := newHasher(argonMemory)
	stored, err := h.hash(t.Context(), phrase)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(stored, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("it is stored as %q", stored)
	}
	if again, err := h.hash(t.Context(), phrase); err != nil || again == stored {
		t.Errorf("the same password is stored the same twice (%v)", err)
	}
	for _, test := range []struct {
		name, password, stored string
		want                   bool
	}{
		{"right", phrase, stored, true},
		{"wrong", phrase + " ", stored, false},
		{"empty", "", stored, false},
		{"no such user", phrase, "", false},
		{"the dummy", "", "", false},
	} {
		if got, err := h.matches(t.Context(), test.password, test.stored); err != nil || got != test.want {
			t.Errorf("%s: %t, %v", test.name, got, err)
		}
	}
	for _, bad := range []string{"x", "$argon2id$v=19$m=8,t=1,p=1$AAAA$AAAA", stored[:len(stored)-4], strings.Replace(stored, "argon2id", "argon2i", 1)} {
		if ok, err := h.matches(t.Context(), phrase, bad); ok || !errors.Is(err, errHash) {
			t.Errorf("%q: %t, %v", bad, ok, err)
		}
	}
}

func TestPasswordRules(t *testing.T) {
	for password, ok := range map[string]bool{
		phrase: true, "äöüäöüäöüä": true, strings.Repeat("ab", 128): true,
		"": false, "123456789": false, "aaaaaaaaaaaa": false, "Administrator": false, strings.Repeat("ab", 129): false, "with\x00a control": false, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff": false,
	} {
		if err := checkPassword("administrator", password); (err == nil) != ok {
			t.Errorf("%q: %v", password, err)
		}
	}
}

// TestHashesAreBounded fills all places: who comes then is refused at once, and who waits
// too long gives up.
func TestHashesAreBounded(t *testing.T) {
	h := newHasher(argonMemory)
	for range hashesAtOnce {
		h.slots <- struct{}{}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := h.hash(ctx, phrase); !errors.Is(err, ErrBusy) {
		t.Errorf("who waits in vain gets %v", err)
	}
	for range hashesWaiting {
		h.queue <- struct{}{}
	}
	if _, err := h.hash(t.Context(), phrase); !errors.Is(err, ErrBusy) {
		t.Errorf("one too many gets %v", err)
	}
}
