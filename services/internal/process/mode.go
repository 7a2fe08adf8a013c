package process

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// Mode is how much a process takes on trust.
type Mode string

const (
	// ModeAuto is ModeDev while everything listens on this machine only, else
	// ModeProduction.
	ModeAuto Mode = "auto"
	// ModeDev starts with everything, and warns.
	ModeDev Mode = "dev"
	// ModeProduction does not start with what would let strangers in.
	ModeProduction Mode = "production"
)

// ModeConfig is the flag for the mode.
type ModeConfig struct {
	Mode Mode `enum:"auto,dev,production" default:"auto" env:"HEADWATER_MODE"`
}

// FlagHelp returns the help that is too long for a tag, by field.
func (ModeConfig) FlagHelp() map[string]string {
	return map[string]string{
		"Mode": "dev starts with everything and warns; production does not start with what would let strangers in, and says " +
			"what to do; auto is dev while everything listens on this machine only, else production.",
	}
}

// Danger is something that would let strangers in.
type Danger struct {
	// What is dangerous, as a clause; Do is what to do about it, as an imperative.
	What, Do string
}

// ErrUnsafe is returned by Refuse. The error says each danger and what to do.
var ErrUnsafe = errors.New("it would not be safe to start")

// Refuse returns ErrUnsafe if the mode does not permit a start with the dangers.
// Otherwise it logs them and returns nil. With ModeAuto they are refused if there are
// any and strict is set. An installation from before there were modes is not strict: it
// keeps running after an upgrade.
func (c ModeConfig) Refuse(log *slog.Logger, strict bool, dangers ...Danger) error {
	if len(dangers) == 0 {
		return nil
	}
	if c.Mode == ModeDev || c.Mode != ModeProduction && !strict {
		for _, d := range dangers {
			log.Warn("strangers may get in", "danger", d.What, "do", d.Do)
		}
		return nil
	}
	var b strings.Builder
	for _, d := range dangers {
		fmt.Fprintf(&b, "\n  %s: %s", d.What, d.Do)
	}
	return fmt.Errorf("%w:%s\n  (--mode dev starts all the same, for a network whose people you trust)", ErrUnsafe, b.String())
}

// samples are secrets that stand in examples, or that everybody tries first.
var samples = []string{
	"admin", "changeme", "change-me", "default", "device", "devices", "example", "guest", "headwater", "letmein", "mosquitto", "mqtt", "passw0rd",
	"password", "public", "reader", "s3cret", "sample", "secret", "secret-topic", "test", "user", "0000", "1234", "12345", "123456", "1234567", "12345678", "123456789",
}

// Sample reports whether a secret is one that everybody knows, or is the name of its
// user.
func Sample(secret, user string) bool {
	plain := strings.ToLower(strings.TrimSpace(secret))
	if plain == strings.ToLower(user) {
		return true
	}
	for _, s := range samples {
		if plain == s || plain == s+"1" || plain == s+"123" || plain == s+"!" {
			return true
		}
	}
	return false
}
