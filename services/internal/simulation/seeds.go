package simulation

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Names of environment variables: one seed to run, and the number of seeds from
// 1 on.
const (
	envSeed  = "HEADWATER_SEED"
	envSeeds = "HEADWATER_SEEDS"
)

// Seeds runs a simulation with the seeds from 1 to n, each in a bubble with a
// clock of its own. It reports every seed with which the simulation fails, with
// the command that repeats it. HEADWATER_SEEDS overrides n; HEADWATER_SEED runs
// one seed only.
func Seeds(t *testing.T, n int, run func(t *testing.T, seed uint64) error) {
	t.Helper()
	if text := os.Getenv(envSeed); text != "" {
		one(t, mustNumber(t, envSeed, text), run)
		return
	}
	if text := os.Getenv(envSeeds); text != "" {
		n = int(mustNumber(t, envSeeds, text))
	}
	began := time.Now()
	var next, failed atomic.Int64
	t.Run("seeds", func(t *testing.T) {
		for worker := range runtime.GOMAXPROCS(0) {
			t.Run(strconv.Itoa(worker), func(t *testing.T) {
				t.Parallel()
				for seed := next.Add(1); seed <= int64(n) && failed.Load() < maxFailures; seed = next.Add(1) {
					if !one(t, uint64(seed), run) {
						failed.Add(1)
					}
				}
			})
		}
	})
	t.Logf("%d seeds took %s", n, time.Since(began).Round(time.Millisecond))
}

// maxFailures is the number of failing seeds after which the rest is skipped.
const maxFailures = 5

func mustNumber(t *testing.T, name, text string) uint64 {
	t.Helper()
	number, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return number
}

// one runs a seed and reports whether it succeeded.
func one(t *testing.T, seed uint64, run func(t *testing.T, seed uint64) error) bool {
	t.Helper()
	if err := Run(t, func(t *testing.T) error { return run(t, seed) }); err != nil {
		test, _, _ := strings.Cut(t.Name(), "/")
		t.Errorf("seed %d: %v\nrepeat it in this folder: %s=%d go test -run '^%s$' .", seed, err, envSeed, seed, test)
		return false
	}
	return true
}

// Run runs a simulation in a bubble. Goroutines that it leaves behind are an
// error.
func Run(t *testing.T, run func(t *testing.T) error) (err error) {
	t.Helper()
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("panic: %v", cause)
		}
	}()
	synctest.Test(t, func(t *testing.T) { err = run(t) })
	return err
}

// Finds checks that a simulation fails within 50 seeds on each cluster that
// breaks a promise of nats-server.
func Finds(t *testing.T, broken map[string]func(*Cluster), run func(t *testing.T, seed uint64, spoil func(*Cluster)) error) {
	t.Helper()
	for name, spoil := range broken {
		t.Run(name, func(t *testing.T) {
			for seed := uint64(1); seed <= 50; seed++ {
				if err := Run(t, func(t *testing.T) error { return run(t, seed, spoil) }); err != nil {
					text, _, _ := strings.Cut(err.Error(), "\n")
					t.Logf("found with seed %d: %s", seed, text)
					return
				}
			}
			t.Error("not found with 50 seeds")
		})
	}
}
