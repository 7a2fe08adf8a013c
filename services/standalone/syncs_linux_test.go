package main

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// slowDisk is the speed of a slow disk in sequential syncs a second: a solid-state disk of
// a small computer.
const slowDisk = 1300

// BenchmarkSyncs counts how often a standalone in power-safe syncs the disk for each
// reading. It measures the readings a second on this disk and on one with slowDisk syncs a
// second. The standalone runs under strace, which counts its syncs and delays them for the
// slow disk. Strace must be installed.
//
// Syncs of several files overlap on the slow disk, as they do on a real one. A disk on
// which they do not overlap stores at most computed/s.
func BenchmarkSyncs(b *testing.B) {
	if _, err := exec.LookPath("strace"); err != nil {
		b.Fatal("syncs are counted with strace, which is not installed (Debian: apt-get install strace)")
	}
	each := rawSync(b)
	b.Logf("this disk: %.0f syncs/s, one after the other", 1/each.Seconds())
	delay := max(time.Second/slowDisk-each, 0)
	for _, bench := range []struct {
		name     string
		readings int
		send     func(b *testing.B, at Addresses, from time.Time, n int)
	}{
		{"mqtt-qos1", 10_000, sendMQTT},
		{"http-100/4-senders", 200_000, sendHTTP(4)},
		{"http-100/16-senders", 200_000, sendHTTP(16)},
	} {
		b.Run(bench.name, func(b *testing.B) {
			for _, disk := range []struct {
				name  string
				delay time.Duration
			}{{"this-disk", 0}, {fmt.Sprintf("%d-syncs", slowDisk), delay}} {
				b.Run(disk.name, func(b *testing.B) {
					traced := startTraced(b, disk.delay)
					// The first reading of a device costs an additional sync.
					from := time.Now().Add(-2 * time.Hour).Truncate(time.Hour)
					sendHTTP(1)(b, traced.at, from, syncDevices)
					awaitPoints(b, traced.at.Influx, from, syncDevices, true)
					for b.Loop() {
						from = from.Add(-time.Hour)
						before := traced.syncs(b)
						begin := time.Now()
						bench.send(b, traced.at, from, bench.readings)
						sent := time.Since(begin)
						awaitPoints(b, traced.at.Influx, from, bench.readings, true)
						took := time.Since(begin)
						made := difference(traced.syncs(b), before)
						report(b, made, bench.readings)
						b.ReportMetric(float64(bench.readings)/sent.Seconds(), "acknowledged/s")
						b.ReportMetric(float64(bench.readings)/took.Seconds(), "stored/s")
					}
				})
			}
		})
	}
}

// report prints the syncs of a run, in total and of the parts with the most.
func report(b *testing.B, made map[string]int, readings int) {
	b.Helper()
	sum := make(map[string]int)
	for file, n := range made {
		server, _, _ := strings.Cut(file, " ")
		sum[server] += n
	}
	all := 0
	for server, n := range sum {
		all += n
		b.ReportMetric(float64(n)/float64(readings), server+"-syncs/reading")
	}
	b.ReportMetric(slowDisk*float64(readings)/float64(max(all, 1)), "computed/s")
	files := slices.SortedFunc(maps.Keys(made), func(x, y string) int { return cmp.Compare(made[y], made[x]) })
	for _, file := range files[:min(len(files), 12)] {
		b.Logf("%6d syncs, %.4f a reading: %s", made[file], float64(made[file])/float64(readings), file)
	}
}

// rawSync returns how long the disk takes to force one record, in the manner of
// nats-server: append, then sync.
func rawSync(b *testing.B) time.Duration {
	b.Helper()
	file, err := os.Create(filepath.Join(b.TempDir(), "log"))
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	record := make([]byte, 256)
	const times = 500
	begin := time.Now()
	for range times {
		if _, err := file.Write(record); err != nil {
			b.Fatal(err)
		}
		if err := file.Sync(); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(begin) / times
}

// traced is a standalone of its own process under strace.
type traced struct {
	at         Addresses
	dir, trace string
}

// startTraced runs a power-safe standalone until the benchmark ends. Each of its syncs is
// delayed.
func startTraced(b *testing.B, delay time.Duration) traced {
	b.Helper()
	t := traced{dir: b.TempDir(), trace: filepath.Join(b.TempDir(), "trace")}
	wrapper := []string{
		"strace", "--follow-forks", "--seccomp-bpf", "--decode-fds=path", "--quiet=all",
		"--signal=none", "--string-limit=4096", "--output=" + t.trace, "--trace=fsync,fdatasync,openat",
	}
	if delay > 0 {
		wrapper = append(wrapper, fmt.Sprintf("--inject=fsync,fdatasync:delay_exit=%d", delay.Microseconds()))
	}
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(wrapper[0], append(wrapper[1:], self)...)
	// A killed strace detaches from its child, so kill the whole group, last.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	b.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	t.at = startCommand(b, cmd, t.dir, childFolder+"_DURABILITY="+string(PowerSafe))
	return t
}

// syncCall matches a call that syncs the disk: fsync of an open file, or an open with
// O_SYNC, which nats-server uses for its small files.
var syncCall = regexp.MustCompile(`(?:fsync|fdatasync)\(\d+<([^>]+)>|openat\([^"]*"([^"]+)", [A-Z_|]*O_D?SYNC`)

// syncs returns how many syncs there were so far, by part.
func (t traced) syncs(b *testing.B) map[string]int {
	b.Helper()
	file, err := os.Open(t.trace)
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	made := make(map[string]int)
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if m := syncCall.FindStringSubmatch(lines.Text()); m != nil {
			made[t.part(m[1]+m[2])]++
		}
	}
	if err := lines.Err(); err != nil {
		b.Fatal(err)
	}
	return made
}

// number matches the part of a name that differs between files of one kind.
var number = regexp.MustCompile(`\d+`)

// part names what a file belongs to: its server, stream and kind.
func (t traced) part(path string) string {
	path, _ = filepath.Rel(t.dir, path)
	server, rest, _ := strings.Cut(filepath.ToSlash(path), "/")
	_, inStream, _ := strings.Cut(rest, "/streams/")
	return server + " " + number.ReplaceAllString(cmp.Or(inStream, rest), "N")
}

func difference(now, before map[string]int) map[string]int {
	out := make(map[string]int)
	for file, n := range now {
		n -= before[file]
		if n > 0 {
			out[file] = n
		}
	}
	return out
}

// syncDevices is how many devices report.
const syncDevices = 1000

// sendMQTT publishes single readings with QoS 1 from 50 connections.
func sendMQTT(b *testing.B, at Addresses, from time.Time, n int) {
	b.Helper()
	load{addresses: []string{at.MQTT}, connections: 50, window: 20, qos: 1, devices: syncDevices, from: from}.run(b, n)
}

// sendHTTP posts readings in batches of 100. Each sender posts the next batch when the
// previous one is stored.
func sendHTTP(senders int) func(b *testing.B, at Addresses, from time.Time, n int) {
	const batch = 100
	return func(b *testing.B, at Addresses, from time.Time, n int) {
		b.Helper()
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: senders}}
		defer client.CloseIdleConnections()
		var next atomic.Int64
		var wg sync.WaitGroup
		for range senders {
			wg.Go(func() {
				for first := int(next.Add(batch)) - batch; first < n; first = int(next.Add(batch)) - batch {
					if err := post(client, at.HTTP, from, first, first+batch); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
}

// post sends the readings first to end, which must be accepted.
func post(client *http.Client, url string, from time.Time, first, end int) error {
	var body bytes.Buffer
	separator := byte('[')
	for i := first; i < end; i++ {
		fmt.Fprintf(&body, `%c{"site":"bench","device":"device-%04d","metric":"temperature","value":%d.5,"ts":%d}`,
			separator, i%syncDevices, 20+i%7, from.UnixMilli()+int64(i/syncDevices))
		separator = ','
	}
	body.WriteByte(']')
	response, err := client.Post(url+"/api/v1/telemetry", "application/json", &body)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusAccepted {
		err = fmt.Errorf("%s: %s", response.Status, text)
	}
	return err
}
