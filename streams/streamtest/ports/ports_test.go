package ports_test

import (
	"bufio"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"headwater/streams/streamtest/ports"
)

// childVariable makes this test binary a process that reserves ports, prints
// them and lives until its standard input ends.
const childVariable = "HEADWATER_TEST_RESERVE"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) == "" {
		os.Exit(m.Run())
	}
	addresses, err := ports.Reserve(250)
	if err != nil {
		panic(err)
	}
	os.Stdout.WriteString(strings.Join(addresses, " ") + "\n")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		panic(err)
	}
}

func TestNoPortIsReservedTwice(t *testing.T) {
	seen := make(map[string]bool)
	add := func(addresses []string) {
		t.Helper()
		if len(addresses) != 250 {
			t.Fatalf("%d addresses, want 250", len(addresses))
		}
		for _, a := range addresses {
			if seen[a] {
				t.Errorf("%s is reserved twice", a)
			}
			seen[a] = true
			l, err := net.Listen("tcp", a)
			if err != nil {
				t.Errorf("a reserved port is in use: %v", err)
				continue
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	for range 4 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childVariable+"=1")
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := stdin.Close(); err != nil {
				t.Error(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
		line, err := bufio.NewReader(stdout).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		add(strings.Fields(line))
	}
	for range 4 {
		addresses, err := ports.Reserve(250)
		if err != nil {
			t.Fatal(err)
		}
		add(addresses)
	}
}
