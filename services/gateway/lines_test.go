package gateway_test

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/services/gateway"
	"headwater/streams/streamtest"
	"headwater/streams/streamtest/ports"
)

// dial connects to the listener for lines. Say sends lines and returns an answer to each.
func dial(t *testing.T, address string) (say func(lines ...string) []string, conn net.Conn) {
	t.Helper()
	streamtest.Eventually(t, "lines are taken", func() bool {
		var err error
		conn, err = net.Dial("tcp", address)
		return err == nil
	})
	t.Cleanup(func() { conn.Close() })
	in := bufio.NewReader(conn)
	return func(lines ...string) []string {
		t.Helper()
		if _, err := fmt.Fprintln(conn, strings.Join(lines, "\n")); err != nil {
			t.Fatal(err)
		}
		var out []string
		for range lines {
			answer, err := in.ReadString('\n')
			if err != nil {
				t.Fatalf("after %q: %v", out, err)
			}
			out = append(out, strings.TrimSpace(answer))
		}
		return out
	}, conn
}

func withLines(t *testing.T) func(*gateway.Config) {
	t.Helper()
	at, err := ports.Reserve(1)
	if err != nil {
		t.Fatal(err)
	}
	return func(c *gateway.Config) {
		c.Lines.TCP, c.Lines.UDP = at[0], at[0]
		c.Lines.Site = "hall"
		c.Lines.Device = "gauge"
		c.Lines.Connections = 2
		c.Lines.Pattern = []string{`regexp:^\$..MTW,(?P<water>[-.0-9]+),C`, "csv:device,temperature,ts", "fields"}
	}
}

// TestLines sends lines as programs do that only know sockets.
func TestLines(t *testing.T) {
	var address string
	f := withCredentials(t, withLines(t), func(c *gateway.Config) { address = c.Lines.TCP })
	say, _ := dial(t, address)
	now := time.Now().UTC().Format(time.RFC3339)
	got := say("lamp,021.5,"+now, "$IIMTW,17.9,C*22", "device=lamp on=true hum=40", "hello", "", "lamp,1,1970-01-01T00:00:12Z", "door-1,1,"+now, "AUTH "+f.door, "lamp,2,"+now)
	want := []string{
		"OK", "OK", "OK", "ERROR the line fits none of the patterns", "ERROR the line is empty", "ERROR ts: the event time 1970-01-01T00:00:12Z is more than 7 d before its arrival",
		"ERROR device: hall/door-1 has a credential of its own: send it with the request", "ERROR AUTH must come first", "OK",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"OK", "OK", "ERROR device: the credential door-1 is not for hall/lamp"}, say("AUTH "+f.door, "door-1,7,"+now, "lamp,3,"+now)); diff != "" {
		t.Errorf("answers with a token (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"ERROR the token is unknown, or its credential revoked", "ERROR the token is unknown, or its credential revoked"}, say("AUTH guess", "lamp,4,"+now)); diff != "" {
		t.Errorf("answers with a wrong token (-want +got):\n%s", diff)
	}

	udp, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	if _, err := fmt.Fprintf(udp, "water=1\nwater=x y\nwater=2\n"); err != nil {
		t.Fatal(err)
	}
	stored := map[string]int{"hall/lamp/temperature=21.5": 1, "hall/gauge/water=17.9": 1, "hall/lamp/on=0": 1, "hall/lamp/hum=40": 1, "hall/lamp/temperature=2": 1, "hall/door-1/temperature=7": 1, "hall/gauge/water=1": 1, "hall/gauge/water=2": 1}
	streamtest.Eventually(t, "the datagram is stored", func() bool {
		readings, _ := f.stored()
		return readings["hall/gauge/water=2"] == 1
	})
	readings, _ := f.stored()
	delete(readings, "hall/door-1/t=1")
	if diff := cmp.Diff(stored, readings); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}

	// Bounds: of connections, and of a line.
	second, _ := dial(t, address)
	if got := second("water=3"); got[0] != "OK" {
		t.Errorf("a second connection: %s", got)
	}
	_, third := dial(t, address)
	if answer, err := bufio.NewReader(third).ReadString('\n'); err != nil || answer != "ERROR too many connections\n" {
		t.Errorf("a third connection: %q, %v", answer, err)
	}
	if got := second(strings.Repeat("x", 5000)); got[0] != "ERROR the line has more than 4096 bytes" {
		t.Errorf("a long line: %s", got)
	}
}

// TestLinesOfAFullStream says that nothing is stored.
func TestLinesOfAFullStream(t *testing.T) {
	var address string
	f := run(t, withLines(t), func(c *gateway.Config) { address = c.Lines.TCP }).ready()
	f.post(item("a", 1))
	f.limit(0)
	say, _ := dial(t, address)
	if got := say("water=1"); !strings.HasPrefix(got[0], "ERROR the stream did not confirm") {
		t.Errorf("answer is %s", got)
	}
}

func TestLinesAreChecked(t *testing.T) {
	c := gateway.DefaultConfig()
	c.Lines.TCP = "127.0.0.1:0"
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "lines-pattern") {
		t.Errorf("without a pattern: %v", err)
	}
	c.Lines.Pattern = []string{"csv:device"}
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "no metric") {
		t.Errorf("without a metric: %v", err)
	}
}
