package process

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
)

func TestModes(t *testing.T) {
	dangers := []Danger{{"a door is open", "close it"}, {"a key is known", "make another"}}
	for _, test := range []struct {
		mode    Mode
		strict  bool
		dangers []Danger
		refused bool
	}{
		{mode: ModeAuto, strict: true},
		{mode: ModeAuto, strict: true, dangers: dangers, refused: true},
		{mode: ModeAuto, dangers: dangers},
		{mode: "", dangers: dangers, strict: true, refused: true},
		{mode: ModeDev, strict: true, dangers: dangers},
		{mode: ModeProduction, dangers: dangers, refused: true},
		{mode: ModeProduction},
	} {
		var log strings.Builder
		err := ModeConfig{test.mode}.Refuse(slog.New(slog.NewTextHandler(&log, nil)), test.strict, test.dangers...)
		said := log.String()
		if (err != nil) != test.refused || err != nil && !errors.Is(err, ErrUnsafe) {
			t.Errorf("%+v: %v", test, err)
		}
		if err != nil {
			said = err.Error()
			if !strings.Contains(said, "--mode dev") {
				t.Errorf("no way out in %q", said)
			}
		}
		for _, d := range test.dangers {
			if !strings.Contains(said, d.What) || !strings.Contains(said, d.Do) {
				t.Errorf("%+v: it does not say %q: %q", test, d, said)
			}
		}
	}
}

func TestSample(t *testing.T) {
	for secret, want := range map[string]bool{
		"changeme": true, "Password1": true, "admin": true, "hall": true, "HALL": true, "1234": true, " secret\n": true,
		"7f3b1c9d20": false, "correct horse": false, "halls": false, "secretary of the hall": false,
	} {
		if Sample(secret, "hall") != want {
			t.Errorf("%q: want %t", secret, want)
		}
	}
}
