package figure

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"30s": 30 * time.Second, "1h30m": 90 * time.Minute, "2d": 2 * day, "1d12h": 36 * time.Hour, "0d": 0, "+1d": day,
		"-1d": -day, "-1d12h": -36 * time.Hour, "-90m": -90 * time.Minute, "2 minutes": 2 * time.Minute, "1 day": day, "-2 days": -2 * day,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "-d", "--1d", "+-1d", "1d-2h", "1d+2h", "1.5d", "70000d", "1d2d", "2 weeks", "1 d", "1d2562047h", "5", "day"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}

func TestDuration(t *testing.T) {
	const day = 24 * time.Hour
	for d, want := range map[time.Duration]string{
		-time.Second: "0 s", 0: "0 s", 1: "less than 1 ms", 124700: "less than 1 ms", 1247 * time.Microsecond: "1 ms", 300 * time.Millisecond: "300 ms",
		999_400 * time.Microsecond: "999 ms", 999_900 * time.Microsecond: "1 s", 1247 * time.Millisecond: "1.2 s", 9960 * time.Millisecond: "10 s",
		45 * time.Second: "45 s", 59_700 * time.Millisecond: "1 min", 118 * time.Second: "1 min 58 s", 3 * time.Minute: "3 min",
		12*time.Minute + 3*time.Second: "12 min 3 s", 59*time.Minute + 59*time.Second + 900*time.Millisecond: "1 h", time.Hour: "1 h",
		65*time.Minute + 40*time.Second: "1 h 6 min", 47 * time.Hour: "1 d 23 h", 23*time.Hour + 59*time.Minute + 40*time.Second: "1 d",
		52 * time.Hour: "2 d 4 h", 30 * day: "30 d", math.MaxInt64: "106751 d 23 h",
	} {
		if got := Duration(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}

func TestFormatDuration(t *testing.T) {
	const day = 24 * time.Hour
	for d, want := range map[time.Duration]string{
		0: "0s", 90 * time.Millisecond: "90ms", 90 * time.Second: "1m30s", time.Minute: "1m", 90 * time.Minute: "1h30m", time.Hour: "1h",
		time.Hour + time.Second: "1h0m1s", 2 * day: "2d", 36 * time.Hour: "1d12h", day + time.Second: "1d1s", -36 * time.Hour: "-1d12h", -time.Second: "-1s",
	} {
		if got := FormatDuration(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}

func TestFormatDurationIsReadBack(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		d := time.Duration(random.Int64N(1<<(1+random.IntN(62)))) * time.Duration(1-2*random.IntN(2))
		if random.IntN(2) == 0 {
			d = d.Truncate(time.Minute)
		}
		if got, err := ParseDuration(FormatDuration(d)); err != nil || got != d {
			t.Fatalf("%d is written %q and read as %d (%v)", d, FormatDuration(d), got, err)
		}
	}
}
