//go:build linux

package stack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Node is one process of a stack. A process that exits by itself is restarted after a
// moment, as an orchestrator does. Several goroutines may call its methods at once.
type Node struct {
	// Name is unique in the stack.
	Name string
	// Program is the name of its program.
	Program string

	stack *Stack
	admin string
	// front is the address of a bridge for devices, or empty.
	front string

	mu sync.Mutex
	// wanted reports whether the process should run; ended is closed when the present
	// process has exited; cmd is nil before the first start. Guarded by mu.
	wanted bool
	cmd    *exec.Cmd
	ended  chan struct{}
	exits  []string
}

// reviveWait is the pause before a process that exited by itself is restarted.
const reviveWait = time.Second

// Start starts the process if it does not run.
func (n *Node) Start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.wanted = true
	if n.running() {
		return nil
	}
	return n.start()
}

func (n *Node) running() bool {
	if n.cmd == nil {
		return false
	}
	select {
	case <-n.ended:
		return false
	default:
		return true
	}
}

// start is called with mu held.
func (n *Node) start() error {
	log, err := os.OpenFile(n.Log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("log of %s: %w", n.Name, err)
	}
	defer log.Close() // The process has its own descriptor.
	cmd := exec.Command(filepath.Join(n.stack.cfg.Bin, n.Program), n.stack.arguments(n)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), n.stack.environment()...)
	// In a group of its own it does not receive the interrupt of a terminal, and it dies
	// with its parent.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := n.stack.spawner.start(cmd); err != nil {
		return fmt.Errorf("start %s: %w", n.Name, err)
	}
	ended := make(chan struct{})
	n.cmd, n.ended = cmd, ended
	go n.wait(cmd, ended)
	return nil
}

// wait returns when the process has exited. Stop and Kill wait for it.
func (n *Node) wait(cmd *exec.Cmd, ended chan struct{}) {
	err := cmd.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	close(ended)
	if !n.wanted {
		return
	}
	n.exits = append(n.exits, fmt.Sprintf("%s: %s exited by itself (%v)", time.Now().Format(time.TimeOnly), n.Name, err))
	time.AfterFunc(reviveWait, n.revive)
}

func (n *Node) revive() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.wanted && !n.running() {
		if err := n.start(); err != nil {
			n.exits = append(n.exits, err.Error())
		}
	}
}

// Exits lists each time that the process exited by itself.
func (n *Node) Exits() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.exits...)
}

// Wanted reports whether the process should run.
func (n *Node) Wanted() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.wanted
}

// signal sends a signal to the process group. A group that has exited is not an error.
func (n *Node) signal(sig syscall.Signal) error {
	if !n.running() {
		return nil
	}
	if err := syscall.Kill(-n.cmd.Process.Pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal %s to %s: %w", sig, n.Name, err)
	}
	return nil
}

// end sends a signal that terminates the process. The returned channel is closed when the
// process has exited.
func (n *Node) end(sig syscall.Signal) (<-chan struct{}, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.wanted = false
	if n.cmd == nil {
		ended := make(chan struct{})
		close(ended)
		return ended, nil
	}
	// A paused process handles the signal only after SIGCONT.
	return n.ended, errors.Join(n.signal(sig), n.signal(syscall.SIGCONT))
}

// Kill kills the process with SIGKILL and waits until it has exited. It is not restarted
// before Start.
func (n *Node) Kill() error {
	ended, err := n.end(syscall.SIGKILL)
	if err == nil {
		<-ended
	}
	return err
}

// Pause stops the process (SIGSTOP) until Resume. When it returns, no thread of the
// process is running.
func (n *Node) Pause() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.signal(syscall.SIGSTOP); err != nil || !n.running() {
		return err
	}
	return awaitStopped(n.cmd.Process.Pid)
}

// Freeze stops a child of this process (SIGSTOP). When it returns, no thread of the child
// is running.
func Freeze(p *os.Process) error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("freeze process %d: %w", p.Pid, err)
	}
	return awaitStopped(p.Pid)
}

// awaitStopped waits until a process has stopped after SIGSTOP: sending the signal does
// not wait for it, and threads on other cores keep running for a moment. The kernel
// notifies the parent when the last thread has stopped.
func awaitStopped(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err == nil, errors.Is(err, unix.ECHILD): // ECHILD: it has exited
			return nil
		default:
			return fmt.Errorf("wait until process %d has stopped: %w", pid, err)
		}
	}
}

// Resume continues a paused process.
func (n *Node) Resume() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.signal(syscall.SIGCONT)
}

// Stop asks the process to exit (SIGTERM) and waits for it. After grace it kills the
// process and returns an error.
func (n *Node) Stop(grace time.Duration) error {
	ended, err := n.end(syscall.SIGTERM)
	if err != nil {
		return err
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-ended:
		return nil
	case <-timer.C:
		return errors.Join(fmt.Errorf("%s did not exit within %s after SIGTERM", n.Name, grace), n.Kill())
	}
}

// Restart is Stop and Start.
func (n *Node) Restart(grace time.Duration) error {
	return errors.Join(n.Stop(grace), n.Start())
}

// Log is the file that the process logs to.
func (n *Node) Log() string { return n.stack.path(filepath.Join("logs", n.Name+".log")) }

// Admin is the base URL of health and metrics.
func (n *Node) Admin() string {
	switch n.Program {
	case NATS:
		return "http://" + n.stack.MonitorAddress
	case Influx:
		return "http://" + n.stack.InfluxAddress
	default:
		return "http://" + n.admin
	}
}

// PID is the id of the process, or 0.
func (n *Node) PID() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.running() {
		return 0
	}
	return n.cmd.Process.Pid
}

var client = &http.Client{Timeout: 2 * time.Second}

// maxAnswer bounds how much of a health response is read, in bytes.
const maxAnswer = 64 << 10

// Ready returns nil if the process reports that it is ready, or else why it is not.
func (n *Node) Ready(ctx context.Context) error {
	path := "/readyz"
	switch n.Program {
	case NATS:
		path = "/healthz"
	case Influx:
		path = "/ping"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.Admin()+path, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("%s: %s: %s", n.Name, resp.Status, strings.TrimSpace(string(body)))
	}
	return nil
}

// readyWait is the pause between two checks whether a process is ready.
const readyWait = 20 * time.Millisecond

// Await waits until the process is ready. The error contains the last reason why it was
// not, and the path of its log.
func (n *Node) Await(ctx context.Context) error {
	tick := time.NewTicker(readyWait)
	defer tick.Stop()
	var last error
	for {
		err := n.Ready(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w (log: %s)", n.Name, cmp.Or(last, ctx.Err()), n.Log())
		case <-tick.C:
		}
	}
}

// spawner starts processes from one thread that lives until stop: Linux signals the death
// of the parent to a process when the thread that started it ends.
type spawner struct {
	starts chan func()
	done   chan struct{}
}

func newSpawner() *spawner {
	s := &spawner{starts: make(chan func()), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		runtime.LockOSThread()
		for start := range s.starts {
			start()
		}
	}()
	return s
}

func (s *spawner) start(cmd *exec.Cmd) error {
	result := make(chan error, 1)
	s.starts <- func() { result <- cmd.Start() }
	return <-result
}

// stop ends the thread, and with it all processes that are still running.
func (s *spawner) stop() {
	close(s.starts)
	<-s.done
}
