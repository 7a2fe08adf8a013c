package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// engine runs the command lines of Docker and Compose.
type engine struct {
	// compose is "docker compose", or "docker-compose" where the former is missing.
	compose []string
	// log receives the output of running commands.
	log io.Writer
}

// errNoEngine is returned when this machine has no Docker engine.
var errNoEngine = errors.New("no Docker engine answers here; on Debian: apt-get install docker.io docker-compose, then start dockerd as root")

func newEngine(ctx context.Context, log io.Writer) (*engine, error) {
	e := &engine{log: log}
	if _, err := e.output(ctx, "docker", "info", "--format", "{{.ServerVersion}}"); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoEngine, err)
	}
	for _, compose := range [][]string{{"docker", "compose"}, {"docker-compose"}} {
		if _, err := e.output(ctx, append(compose, "version")...); err == nil {
			e.compose = compose
			return e, nil
		}
	}
	return nil, fmt.Errorf("%w: there is no Compose", errNoEngine)
}

// output runs a command and returns its output without the white space around it. The
// error contains what the command printed on standard error.
func (e *engine) output(ctx context.Context, command ...string) (string, error) {
	return e.feed(ctx, nil, command...)
}

func (e *engine) feed(ctx context.Context, in io.Reader, command ...string) (string, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	var out, complaint bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &complaint
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, lastLines(complaint.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

// run runs a slow command and shows its output.
func (e *engine) run(ctx context.Context, environment []string, command ...string) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), environment...)
	// An interrupt stops Compose gracefully. It is killed if that takes too long.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	cmd.Stdout, cmd.Stderr = e.log, e.log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(command, " "), err)
	}
	return nil
}

// lastLines returns the end of a long text.
func lastLines(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "; ")
}

// project is one Compose project on the engine.
type project struct {
	*engine
	name  string
	files []string
	// rules is the folder with the rules.yaml that replaces the one beside compose.yaml.
	rules string
}

func (p *project) command(arguments ...string) []string {
	command := append([]string{}, p.compose...)
	command = append(command, "--project-name", p.name)
	for _, file := range p.files {
		command = append(command, "--file", file)
	}
	return append(command, arguments...)
}

// do runs Compose with its progress on the log. It builds images in a way that every
// engine supports.
func (p *project) do(ctx context.Context, arguments ...string) error {
	environment := []string{
		"DOCKER_BUILDKIT=0", "COMPOSE_DOCKER_CLI_BUILD=0",
		"HEADWATER_RULES_FOLDER=" + p.rules, "HEADWATER_VERSION=" + version, "HEADWATER_COMMIT=" + commit,
	}
	return p.run(ctx, environment, p.command(arguments...)...)
}

// containers returns the ids of the running containers of a service.
func (p *project) containers(ctx context.Context, service string) ([]string, error) {
	out, err := p.output(ctx, "docker", "ps", "--quiet", "--no-trunc",
		"--filter", "label=com.docker.compose.project="+p.name, "--filter", "label=com.docker.compose.service="+service)
	return strings.Fields(out), err
}

// container returns the id of the only running container of a service.
func (p *project) container(ctx context.Context, service string) (string, error) {
	ids, err := p.containers(ctx, service)
	if err == nil && len(ids) != 1 {
		err = fmt.Errorf("service %s has %d containers, want 1", service, len(ids))
	}
	if err != nil {
		return "", err
	}
	return ids[0], nil
}

// process returns the id of a container's first process, or 0 if it has none.
func (p *project) process(ctx context.Context, container string) (int, error) {
	text, err := p.output(ctx, "docker", "inspect", "--format", "{{.State.Pid}}", container)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(text)
}

// address returns the address of a container on the network of the project.
func (p *project) address(ctx context.Context, container string) (string, error) {
	return p.output(ctx, "docker", "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", container)
}

// health returns the health of a container: healthy, starting, unhealthy, or none if it
// has no check.
func (p *project) health(ctx context.Context, container string) (string, error) {
	return p.output(ctx, "docker", "inspect", "--format", "{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}", container)
}

// await waits until every service has the wanted number of healthy containers.
func (p *project) await(ctx context.Context, want map[string]int) error {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		missing, err := p.missing(ctx, want)
		if err != nil || missing == "" {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", missing, ctx.Err())
		case <-tick.C:
		}
	}
}

func (p *project) missing(ctx context.Context, want map[string]int) (string, error) {
	for service, n := range want {
		ids, err := p.containers(ctx, service)
		if err != nil {
			return "", err
		}
		healthy := 0
		for _, id := range ids {
			// A container that is being replaced does not count.
			if state, err := p.health(ctx, id); err == nil && (state == "healthy" || state == "none") {
				healthy++
			}
		}
		if healthy != n || len(ids) != n {
			return fmt.Sprintf("service %s has %d healthy containers of %d, want %d", service, healthy, len(ids), n), nil
		}
	}
	return "", nil
}

// logs writes the log of each container to a file in the folder.
func (p *project) logs(ctx context.Context, folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	names, err := p.output(ctx, "docker", "ps", "--all", "--format", "{{.Names}}", "--filter", "label=com.docker.compose.project="+p.name)
	if err != nil {
		return err
	}
	for name := range strings.FieldsSeq(names) {
		file, err := os.Create(filepath.Join(folder, name+".log"))
		if err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, "docker", "logs", "--timestamps", name)
		cmd.Stdout, cmd.Stderr = file, file
		if err := errors.Join(cmd.Run(), file.Close()); err != nil {
			return fmt.Errorf("log of %s: %w", name, err)
		}
	}
	return nil
}

// leftovers lists what a project has left on the engine.
func (p *project) leftovers(ctx context.Context) ([]string, error) {
	var left []string
	for _, kind := range [][]string{{"ps", "--all"}, {"volume", "ls"}, {"network", "ls"}} {
		out, err := p.output(ctx, append(append([]string{"docker"}, kind...), "--quiet", "--filter", "label=com.docker.compose.project="+p.name)...)
		if err != nil {
			return nil, err
		}
		for id := range strings.FieldsSeq(out) {
			left = append(left, kind[0]+" "+id)
		}
	}
	return left, nil
}

// repository returns the root of the working copy.
func repository(ctx context.Context, e *engine) (string, error) {
	file, err := e.output(ctx, "go", "env", "GOWORK")
	if err != nil || file == "" {
		return "", errors.Join(errors.New("run this in the repository: there is no go.work above"), err)
	}
	return filepath.Dir(file), nil
}
