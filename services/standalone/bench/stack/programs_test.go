//go:build linux

package stack_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"headwater/services/standalone/bench/stack"
)

// bin is where the programs are built, once for all tests.
var bin string

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	bin, err = os.MkdirTemp("", "headwater-programs-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(bin)) }()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	if err := stack.Build(ctx, bin); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

// services are the programs that Headwater consists of.
var services = []string{
	stack.Provision, stack.Bridge, stack.Gateway, stack.Processor, stack.Notifier, stack.Writer, stack.Dashboard,
}

// command is a service with nothing in its environment but what is given.
func command(t *testing.T, service string, environment []string, arguments ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, service), arguments...)
	cmd.Env = append([]string{"COLUMNS=1000"}, environment...)
	return cmd
}

// helpLine is a flag in the help: its name, its text, and the variable that
// stands for it.
var helpLine = regexp.MustCompile(`^ +(?:-h, )?--([a-z0-9-]+)\S* +(.*?)(?: \(\$([A-Z0-9_]+)\))?\.?$`)

// TestEveryFlagHasAVariableAndIsExplained reads the help of every service.
func TestEveryFlagHasAVariableAndIsExplained(t *testing.T) {
	// These say what the program does now, and not how it is set up.
	acts := []string{"help", "version", "healthcheck"}
	for _, service := range services {
		t.Run(service, func(t *testing.T) {
			text, err := command(t, service, nil, "--help").Output()
			if err != nil {
				t.Fatal(err)
			}
			_, list, _ := strings.Cut(string(text), "Flags:\n")
			flags := 0
			for _, line := range joined(list) {
				m := helpLine.FindStringSubmatch(line)
				if m == nil {
					t.Errorf("%q is no flag", line)
					continue
				}
				flags++
				name, text, variable := m[1], m[2], m[3]
				if len(text) < 10 {
					t.Errorf("--%s is not explained: %q", name, text)
				}
				// What only one service has may be named for it.
				twins := []string{twin(name), twin(service + "-" + name)}
				if !slices.Contains(acts, name) && !slices.Contains(twins, variable) {
					t.Errorf("--%s has the variable %q, want one of %v", name, variable, twins)
				}
			}
			if flags < 8 {
				t.Errorf("the help lists %d flags only:\n%s", flags, text)
			}
		})
	}
}

// twin is the variable of a flag.
func twin(flag string) string {
	return "HEADWATER_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// joined puts what continues a flag on a line of its own to that of the flag.
func joined(text string) (lines []string) {
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch trimmed := strings.TrimSpace(line); {
		case trimmed == "":
		case strings.HasPrefix(trimmed, "-"):
			lines = append(lines, line)
		case len(lines) > 0:
			lines[len(lines)-1] += " " + trimmed
		}
	}
	return lines
}

// TestAllProblemsOfAServiceAreNamedAtOnce starts every service with three
// mistakes in its environment and one among its arguments.
func TestAllProblemsOfAServiceAreNamedAtOnce(t *testing.T) {
	for _, service := range services {
		t.Run(service, func(t *testing.T) {
			var complaint bytes.Buffer
			cmd := command(t, service, []string{
				"HEADWATER_LOG_LEVEL=loud", "HEADWATER_LOG_FORMAT=xml", "HEADWATER_NATS_PASSWORD_FILE=/nowhere/at/all",
			}, "--grace", "soon")
			cmd.Stderr = &complaint
			var exit *exec.ExitError
			if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != 2 {
				t.Errorf("it ends with %v, want exit status 2", err)
			}
			for _, want := range []string{"--log-level", "--log-format", "--nats-password-file", "--grace"} {
				if !strings.Contains(complaint.String(), want) {
					t.Errorf("%s is not named in:\n%s", want, complaint.String())
				}
			}
		})
	}
}

// TestServicesLogTheirConfigurationWithoutSecrets starts every service with a
// secret in its environment and reads the first thing that it logs.
func TestServicesLogTheirConfigurationWithoutSecrets(t *testing.T) {
	for _, service := range services {
		t.Run(service, func(t *testing.T) {
			password := filepath.Join(t.TempDir(), "password")
			if err := os.WriteFile(password, []byte("hidden-in-a-file\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := command(t, service, []string{
				"HEADWATER_NATS=nats://someone:hidden-in-a-url@127.0.0.1:1", "HEADWATER_INFLUX_TOKEN=hidden-in-the-environment",
				"HEADWATER_NATS_PASSWORD_FILE=" + password, "HEADWATER_ISSUER_SEED_FILE=" + password, "HEADWATER_GRACE=7s",
			}, "--admin", "127.0.0.1:0", "--log-format", "json")
			log, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(log).ReadString('\n')
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			if err != nil || !strings.Contains(line, `"msg":"configuration"`) {
				t.Fatalf("the first line of the log is %q (%v), want the configuration", line, err)
			}
			if strings.Contains(line, "hidden") {
				t.Errorf("a secret is logged: %s", line)
			}
			for _, want := range []string{`"grace":"7s"`, `"nats-password-file":"` + password + `"`, `"nats":"nats://someone:xxxxx@127.0.0.1:1"`} {
				if !strings.Contains(line, want) {
					t.Errorf("%s is not in %s", want, line)
				}
			}
		})
	}
}
