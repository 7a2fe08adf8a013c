package process

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

// flagsConfig is a configuration with every kind of problem.
type flagsConfig struct {
	AdminConfig `embed:""`
	NATSConfig  `embed:""`
	Nested      nestedConfig `embed:"" prefix:"part-"`
	Kind        string       `help:"M." enum:"one,two" default:"one" env:"HEADWATER_TEST_MODE"`
	Key         string       `help:"K." required:"" env:"HEADWATER_TEST_KEY"`
	Token       string       `help:"T." env:"HEADWATER_TEST_TOKEN"`
}

type nestedConfig struct {
	Size int           `help:"S." default:"5" env:"HEADWATER_TEST_SIZE"`
	Wait time.Duration `help:"W." default:"1s"`
}

func (c nestedConfig) Validate() error {
	var errs []error
	if c.Size < 1 {
		errs = append(errs, errors.New("--part-size must be at least 1"))
	}
	if c.Wait > time.Minute {
		errs = append(errs, errors.New("--part-wait must be at most 1m"))
	}
	return errors.Join(errs...)
}

func newParser(t *testing.T, config any) *kong.Kong {
	t.Helper()
	parser, err := kong.New(config, kong.Name("test"), completeFlags())
	if err != nil {
		t.Fatal(err)
	}
	return parser
}

func TestAllProblemsAreNamedAtOnce(t *testing.T) {
	t.Setenv("HEADWATER_TEST_MODE", "three")
	t.Setenv("HEADWATER_TEST_SIZE", "many")
	t.Setenv("HEADWATER_NATS_PASSWORD_FILE", "/nowhere/at/all")
	err := problems(newParser(t, &flagsConfig{}), []string{"--part-wait", "1h"})
	if err == nil {
		t.Fatal("nothing was found")
	}
	for _, want := range []string{
		`--kind must be one of one, two, not "three"`,
		`--part-size: expected a valid 64 bit int but got "many" (from envar HEADWATER_TEST_SIZE="many")`,
		"--part-wait must be at most 1m",
		"--key is missing (or HEADWATER_TEST_KEY in the environment)",
		"--nats-password-file: stat /nowhere/at/all",
	} {
		if n := strings.Count(err.Error(), want); n != 1 {
			t.Errorf("%q is named %d times in:\n%v", want, n, err)
		}
	}
	if got := len(strings.Split(err.Error(), "\n")); got != 5 {
		t.Errorf("%d problems are named, want 5:\n%v", got, err)
	}
}

func TestNoProblemsAreFoundInDefaults(t *testing.T) {
	if err := problems(newParser(t, &flagsConfig{}), []string{"--key", "x"}); err != nil {
		t.Error(err)
	}
}

func TestAddressesOfNATS(t *testing.T) {
	for _, good := range []string{
		"nats://127.0.0.1:4222", "127.0.0.1:4222", "nats://a:4222, tls://user:secret@b:4222", "ws://c", "wss://[::1]:443",
	} {
		if err := (NATSConfig{NATS: good}).Validate(); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "bad://a:1", "nats://", "a:1,", "nats://user:my secret@a:1", ":4222", "http://a"} {
		if err := (NATSConfig{NATS: bad}).Validate(); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestLoggedConfigurationHidesSecrets(t *testing.T) {
	parser := newParser(t, &flagsConfig{})
	args := []string{"--key", "seen", "--token", "hidden", "--nats", "nats://user:hidden@a:4222,nats://b:4222", "--part-wait", "2s"}
	if _, err := parser.Parse(args); err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	slog.New(slog.NewJSONHandler(&text, nil)).Info("configuration", settings(parser.Model.Flags)...)
	var logged map[string]string
	if err := json.Unmarshal(text.Bytes(), &logged); err != nil {
		t.Fatal(err)
	}
	for flag, want := range map[string]string{
		"key": "seen", "token": "xxxxx", "nats": "nats://user:xxxxx@a:4222,nats://b:4222", "part-wait": "2s", "part-size": "5",
	} {
		if logged[flag] != want {
			t.Errorf("%s is logged as %q, want %q", flag, logged[flag], want)
		}
	}
	if strings.Contains(text.String(), "hidden") {
		t.Errorf("a secret is in the log: %s", text.String())
	}
}

func TestHealthcheckAsksTheRunningProcess(t *testing.T) {
	p := newProcess()
	var reason error
	p.Health.Add("work", func() error { return reason })
	mux := http.NewServeMux()
	p.Health.Mount(mux, p.Metrics)
	server := httptest.NewServer(mux)
	defer server.Close()
	_, port, _ := strings.Cut(strings.TrimPrefix(server.URL, "http://"), ":")
	config := AdminConfig{Admin: "0.0.0.0:" + port}
	if err := checkHealth(t.Context(), config); err != nil {
		t.Errorf("a process that is ready is said not to be: %v", err)
	}
	reason = errors.New("the disk is full")
	if err := checkHealth(t.Context(), config); err == nil || !strings.Contains(err.Error(), "the disk is full") {
		t.Errorf("a process that is not ready is said to be: %v", err)
	}
	server.Close()
	if err := checkHealth(t.Context(), config); err == nil {
		t.Error("a process that does not run is said to be ready")
	}
}

func TestSecretsOnTheCommandLine(t *testing.T) {
	got := onCommandLine([]string{"--influx-token", "s3cret", "--influx-token=s3cret", "--influx-token-file=f", "token", "--demo"})
	if want := []string{"--influx-token", "--influx-token"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// longConfig has a flag whose help is too long for a tag.
type longConfig struct {
	Size  int    `name:"size-1m" default:"5"`
	Other string `help:"O." env:"HEADWATER_ANOTHER"`
	None  bool   `help:"N." env:"-"`

	// texts is what FlagHelp returns.
	texts map[string]string
}

func (c longConfig) FlagHelp() map[string]string { return c.texts }

func TestTagsAreCompleted(t *testing.T) {
	config := struct {
		Long longConfig `embed:"" prefix:"part-"`
	}{longConfig{texts: map[string]string{"Size": "How large it may be."}}}
	got := map[string]string{}
	for _, flag := range newParser(t, &config).Model.Flags {
		got[flag.Name] = flag.Help + " " + strings.Join(flag.Envs, ",")
	}
	for name, want := range map[string]string{
		"part-size-1m": "How large it may be. HEADWATER_PART_SIZE_1M", "part-other": "O. HEADWATER_ANOTHER", "part-none": "N. ",
	} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
	config.Long.texts = map[string]string{"Weight": "How heavy it may be."}
	if _, err := kong.New(&config, completeFlags()); err == nil || !strings.Contains(err.Error(), "Weight") {
		t.Errorf("help of a field that is not there: %v", err)
	}
}
