package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"headwater/services/standalone/bench/oracle"
	"headwater/streams/streamtest"
)

// smallDisk mounts a disk of the given size in MiB for the test. It needs root.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", size))
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		t.Skipf("a small disk cannot be mounted: this test needs root (%v)", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill appends to a file until only the given number of bytes is free; 0 fills the disk.
func fill(path string, leave uint64) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	chunk := make([]byte, 256<<10)
	for {
		var disk syscall.Statfs_t
		if err := syscall.Statfs(filepath.Dir(path), &disk); err != nil {
			return err
		}
		if leave > 0 && disk.Bavail*uint64(disk.Bsize) <= leave {
			return nil
		}
		if _, err := file.Write(chunk); errors.Is(err, syscall.ENOSPC) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// keepFull fills the disk as fill does, and again whenever InfluxDB removes files that it
// no longer needs. Stop ends that and removes the file.
func keepFull(t *testing.T, path string, leave uint64) (stop func()) {
	t.Helper()
	err := fill(path, leave)
	quit := make(chan struct{})
	var filling sync.WaitGroup
	filling.Go(func() {
		for err == nil && !pauseOr(quit, 5*time.Millisecond) {
			err = fill(path, leave)
		}
	})
	return func() {
		t.Helper()
		close(quit)
		filling.Wait()
		if err := errors.Join(err, os.Remove(path)); err != nil {
			t.Fatal(err)
		}
	}
}

// tally knows which readings were sent and which were acknowledged.
type tally struct {
	next atomic.Int64
	base time.Time
	book *oracle.Book
}

func newTally() *tally {
	return &tally{base: time.Now().Add(-time.Hour), book: oracle.NewBook()}
}

// issue returns a new reading with a time of its own.
func (y *tally) issue() (id oracle.ID, device string, n, at int64) {
	n = y.next.Add(1)
	device = fmt.Sprintf("device-%02d", n%20)
	id, at = y.book.Issue(oracle.Series{Device: device, Metric: "n"}, y.base.Add(time.Duration(n)*time.Microsecond), float64(n))
	return id, device, n, at
}

func (y *tally) acknowledged() int { _, n := y.book.Totals(); return n }

// overMQTT publishes with QoS 1 until stop is closed, like a device that keeps a reading
// until it is acknowledged. It reconnects by itself, because paho completes waiting
// messages without an error when it reconnects.
func (y *tally) overMQTT(at Addresses, client string, stop <-chan struct{}) {
	id, device, n, ts := y.issue()
	for {
		conn := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + at.MQTT).SetClientID(client).
			SetAutoReconnect(false).SetConnectTimeout(5 * time.Second))
		token := conn.Connect()
		for token.WaitTimeout(10*time.Second) && token.Error() == nil {
			token = conn.Publish("sensors/hall/"+device+"/n", 1, false, fmt.Sprintf(`{"value":%d,"ts":%d}`, n, ts))
			select {
			case <-token.Done():
				if token.Error() == nil {
					y.book.Ack(id)
					id, device, n, ts = y.issue()
				}
			case <-stop:
			}
			if pauseOr(stop, 5*time.Millisecond) {
				conn.Disconnect(0)
				return
			}
		}
		conn.Disconnect(0)
		if pauseOr(stop, 200*time.Millisecond) {
			return
		}
	}
}

// pauseOr waits, and reports whether stop was closed meanwhile.
func pauseOr(stop <-chan struct{}, d time.Duration) bool {
	select {
	case <-time.After(d):
		return false
	case <-stop:
		return true
	}
}

// post sends readings over HTTP, each with some padding, and returns the answer
// and how long it took.
func (y *tally) post(t *testing.T, at Addresses, readings, padding int) (status int, retryAfter, body string, took time.Duration) {
	t.Helper()
	var items []string
	var ids []oracle.ID
	for range readings {
		id, device, n, ts := y.issue()
		ids = append(ids, id)
		items = append(items, fmt.Sprintf(`{"site":"hall","device":%q,"metric":"n","value":%d,"ts":%d}`, device, n, ts))
		if padding > 0 {
			noise := make([]byte, padding/2)
			_, _ = rand.Read(noise)
			items = append(items, fmt.Sprintf(`{"site":"hall","device":%q,"metric":"pad","value":"%x","ts":%d}`, device, noise, ts))
		}
	}
	begin := time.Now()
	resp, err := http.Post(at.HTTP+"/api/v1/telemetry", "application/json", strings.NewReader("["+strings.Join(items, ",")+"]"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode == http.StatusAccepted {
		for _, id := range ids {
			y.book.Ack(id)
		}
	}
	return resp.StatusCode, resp.Header.Get("Retry-After"), string(answer), time.Since(begin)
}

// verify waits until every acknowledged reading is in InfluxDB, and requires that each is
// there once and unaltered, and nothing else.
func (y *tally) verify(t *testing.T, at Addresses) {
	t.Helper()
	awaitVerdict(t, at, y.book)
	issued, acked := y.book.Totals()
	t.Logf("%d readings sent, %d acknowledged, all of them in InfluxDB once", issued, acked)
}

// readiness returns the status and the text of /readyz.
func readiness(t *testing.T, at Addresses) (int, string) {
	t.Helper()
	resp, err := http.Get(at.HTTP + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, text.String()
}

// checkRefused requires that readings are refused in time and that /readyz says why.
func (y *tally) checkRefused(t *testing.T, at Addresses, since time.Time) {
	t.Helper()
	status, retryAfter, body, took := y.post(t, at, 1, 0)
	for status == http.StatusAccepted && time.Since(since) < 10*time.Second {
		status, retryAfter, body, took = y.post(t, at, 1, 0)
	}
	if status != http.StatusServiceUnavailable || retryAfter == "" || took > 5*time.Second {
		t.Errorf("POST: %d with Retry-After %q after %s, want 503 with one within 5 s: %s", status, retryAfter, took, body)
	}
	var reason string
	streamtest.EventuallyWithin(t, 10*time.Second-time.Since(since), "/readyz is red and says that the disk is full", func() bool {
		var status int
		status, reason = readiness(t, at)
		return status == http.StatusServiceUnavailable && strings.Contains(reason, "is full") && strings.Contains(reason, "Delete other files")
	})
	t.Logf("%.1f s after the disk was full: POST answered 503 in %s, /readyz is red", time.Since(since).Seconds(), took.Round(time.Millisecond))

	begin := time.Now()
	lost := make(chan struct{})
	client := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + at.MQTT).SetClientID("refused").SetAutoReconnect(false).
		SetConnectTimeout(5 * time.Second).SetConnectionLostHandler(func(mqtt.Client, error) { close(lost) }))
	defer client.Disconnect(0)
	if token := client.Connect(); !token.WaitTimeout(5*time.Second) || token.Error() != nil {
		t.Logf("MQTT: a new connection is refused: %v", token.Error())
		return
	}
	// A file system accepts what fits into the last block of a file even if no other
	// block is free. What is stored in this way is rightly acknowledged.
	for stored := 0; ; stored++ {
		id, device, n, ts := y.issue()
		token := client.Publish("sensors/hall/"+device+"/n", 1, false, fmt.Sprintf(`{"value":%d,"ts":%d}`, n, ts))
		acknowledged := false
		select {
		case <-lost:
		case <-token.Done():
			acknowledged = token.Error() == nil
		case <-time.After(6 * time.Second):
			t.Error("MQTT: neither refused nor closed within 6 s")
			return
		}
		if !acknowledged {
			t.Logf("MQTT: no PUBACK after %d that were stored, the connection was closed after %s", stored, time.Since(begin).Round(time.Millisecond))
			return
		}
		y.book.Ack(id)
		if time.Since(begin) > 5*time.Second {
			t.Errorf("MQTT: %d readings are acknowledged although the disk is full", stored+1)
			return
		}
	}
}

func (y *tally) checkRecovery(t *testing.T, at Addresses) {
	t.Helper()
	begin, before := time.Now(), y.acknowledged()
	reason := ""
	defer func() {
		if t.Failed() {
			t.Log(reason)
		}
	}()
	streamtest.Eventually(t, "/readyz is green again", func() bool {
		var status int
		status, reason = readiness(t, at)
		return status == http.StatusOK
	})
	green := time.Since(begin)
	streamtest.Eventually(t, "readings of the devices are acknowledged again", func() bool { return y.acknowledged() > before+200 })
	t.Logf("ready %.1f s after there was space, 200 readings acknowledged after %.1f s", green.Seconds(), time.Since(begin).Seconds())
}

// load starts devices. The returned function stops them.
func (y *tally) load(t *testing.T, at Addresses) (stop func()) {
	t.Helper()
	quit := make(chan struct{})
	var devices sync.WaitGroup
	for i := range 4 {
		devices.Go(func() { y.overMQTT(at, fmt.Sprintf("device-%d", i), quit) })
	}
	stop = sync.OnceFunc(func() { close(quit); devices.Wait() })
	t.Cleanup(stop)
	return stop
}

// TestDiskFilledByOthers fills the disk to the last byte in one go, under load.
// From then on nothing is acknowledged, and the pages say so. When the file is deleted,
// everything resumes by itself and nothing is lost.
func TestDiskFilledByOthers(t *testing.T) {
	t.Parallel() // it mostly waits
	disk := smallDisk(t, 256)
	cfg := testConfig(filepath.Join(disk, "data"))
	cfg.Durability = PowerSafe
	at, _ := start(t, cfg)
	y := newTally()
	stop := y.load(t, at)
	streamtest.Eventually(t, "200 acknowledged readings", func() bool { return y.acknowledged() > 200 })
	foreign := filepath.Join(disk, "foreign")
	for range 2 {
		remove := keepFull(t, foreign, 0)
		y.checkRefused(t, at, time.Now())
		remove()
		y.checkRecovery(t, at)
	}
	stop()
	y.verify(t, at)
}

// TestDiskFilledByReadings lets readings themselves fill the disk. They are
// refused while there is still room for the accepted ones, which are stored in InfluxDB
// meanwhile.
func TestDiskFilledByReadings(t *testing.T) {
	disk := smallDisk(t, 256)
	cfg := testConfig(filepath.Join(disk, "data"))
	at, _ := start(t, cfg)
	y := newTally()
	stop := y.load(t, at)
	ballast := filepath.Join(disk, "ballast")
	if err := fill(ballast, 32<<20); err != nil {
		t.Fatal(err)
	}
	// A small disk has a small reserve, which a flood would fill between two checks.
	streamtest.EventuallyWithin(t, 5*time.Minute, "the disk is full", func() bool {
		status, _, _, _ := y.post(t, at, 50, 500)
		return status != http.StatusAccepted
	})
	// InfluxDB needs room for what was accepted. What it gives back is taken again, or
	// readings would rightly be accepted.
	remove := keepFull(t, filepath.Join(disk, "others"), 10<<20)
	y.checkRefused(t, at, time.Now())
	stop()
	// The accepted readings are in InfluxDB although the disk is as full as before.
	y.verify(t, at)
	remove()
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	again := y.load(t, at)
	y.checkRecovery(t, at)
	again()
	y.verify(t, at)
}
