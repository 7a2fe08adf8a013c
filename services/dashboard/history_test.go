package dashboard

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestBucketsConsistOfWindows looks at the widths of many charts: few enough
// buckets, each of whole windows.
func TestBucketsConsistOfWindows(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		span, points := time.Duration(1+random.Int64N(1<<(20+random.IntN(40)))), 1+random.IntN(5000)
		tier, width := bucketWidth(span, points)
		if tier.width > 0 && width%tier.width != 0 || tier.width > width || width < time.Millisecond || width%time.Millisecond != 0 {
			t.Fatalf("%v at %d points: buckets of %v made of %v", span, points, width, tier.width)
		}
		// One more where the range cuts the first and the last.
		if n := int64((span-1)/width) + 2; n > int64(max(2, points))+1 {
			t.Fatalf("%v at %d points: %d buckets of %v", span, points, n, width)
		}
	}
}

// TestBucketsOfDays puts times into buckets of the days of a site, in zones near
// and far, with days missing: each lies in its bucket, and so does its day.
func TestBucketsOfDays(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, name := range []string{"UTC", "Europe/Vienna", "Asia/Kathmandu", "America/St_Johns", "Pacific/Auckland", "America/Los_Angeles"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		midnight := func(day int) int64 { return time.Date(2025, 1, 1+day, 0, 0, 0, 0, zone).UnixNano() }
		for n := range 8 {
			g := grid{width: time.Duration(n+1) * day}
			first := random.IntN(300)
			for d := first; d < first+500; d++ {
				if d == first || random.IntN(5) > 0 {
					g.days = append(g.days, midnight(d))
				}
			}
			for range 2000 {
				at := midnight(first-20) + random.Int64N(int64(550*day))
				start := g.start(at)
				if start > at || at >= start+int64(g.width+time.Hour) {
					t.Fatalf("%s: %v is in the bucket of %v, which is %v wide", name, time.Unix(0, at).In(zone), time.Unix(0, start).In(zone), g.width)
				}
			}
			for i, d := range g.days {
				end := d + int64(day)
				if i+1 < len(g.days) && g.days[i+1] < end+int64(2*time.Hour) {
					end = g.days[i+1]
				}
				if a, b := g.start(d), g.start(end-1); a != b {
					t.Fatalf("%s: the day %v is in two buckets of %v: %v and %v", name, time.Unix(0, d).In(zone), g.width, time.Unix(0, a).In(zone), time.Unix(0, b).In(zone))
				}
			}
		}
	}
}
