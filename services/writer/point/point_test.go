package point

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestReadings(t *testing.T) {
	door := Series{Site: "w", Device: "door-1", Metric: "temperature"}
	odd := Series{Site: "a b", Device: "d,e=f", Metric: "m n,o=p"}
	broken := Series{Site: "a\nb", Device: `d\`, Metric: "#m\t"}
	value := func(s Series, v float64) string {
		return string(AppendValue(nil, AppendValuePrefix(nil, s), v, 1700000000000000001))
	}
	text := func(v string) string { return string(AppendText(nil, AppendTextPrefix(nil, door), v, -1)) }
	tests := map[string]struct{ got, want string }{
		"whole number":   {value(door, -40), "temperature,device=door-1,site=w value=-40 1700000000000000001\n"},
		"decimals":       {value(door, 21.7), "temperature,device=door-1,site=w value=21.7 1700000000000000001\n"},
		"tenths":         {value(door, -0.1), "temperature,device=door-1,site=w value=-0.1 1700000000000000001\n"},
		"thousandths":    {value(door, 12.005), "temperature,device=door-1,site=w value=12.005 1700000000000000001\n"},
		"more decimals":  {value(door, 0.30000000000000004), "temperature,device=door-1,site=w value=0.30000000000000004 1700000000000000001\n"},
		"not finite":     {value(door, math.Inf(-1)), "temperature,device=door-1,site=w value=-Inf 1700000000000000001\n"},
		"large":          {value(door, 1e300), "temperature,device=door-1,site=w value=1e+300 1700000000000000001\n"},
		"small":          {value(door, 5e-324), "temperature,device=door-1,site=w value=5e-324 1700000000000000001\n"},
		"escaped":        {value(odd, 1), `m\ n\,o=p,device=d\,e\=f,site=a\ b value=1 1700000000000000001` + "\n"},
		"replaced":       {value(broken, 1), "_m_,device=d_,site=a_b value=1 1700000000000000001\n"},
		"flag":           {string(AppendFlag(nil, AppendFlagPrefix(nil, door), true, 5)), "temperature,device=door-1,site=w flag=true 5\n"},
		"text":           {text("open, a=b #c"), `temperature,device=door-1,site=w text="open, a=b #c" -1` + "\n"},
		"quotes":         {text(`say "hi" \o/ \`), `temperature,device=door-1,site=w text="say \"hi\" \\o/ \\" -1` + "\n"},
		"lines":          {text("a\r\nb"), "temperature,device=door-1,site=w text=\"a\r\nb\" -1\n"},
		"empty text":     {text(""), `temperature,device=door-1,site=w text="" -1` + "\n"},
		"beyond integer": {value(door, 1<<60), "temperature,device=door-1,site=w value=1.152921504606847e+18 1700000000000000001\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.got != tt.want {
				t.Errorf("got  %q\nwant %q", tt.got, tt.want)
			}
		})
	}
}

func TestSummary(t *testing.T) {
	got := AppendSummary([]byte("x\n"), &Summary{
		Series: Series{Site: "w", Device: "door-1", Metric: "temperature"}, Time: 60e9,
		Min: 1, Max: 4.5, Mean: 2.25, First: 2, Last: 3, Deviation: 0.5, Count: 7, Revision: 2,
		TimeMean: 2.5, Rate: 0.125, P50: 2, P90: 3, P95: 3.5, P99: 4,
	})
	got = AppendSummary(got, &Summary{
		Series: Series{Site: "w", Device: "door-1", Metric: "temperature"}, Window: "session-5m-1h", Time: 60e9, Revision: 3,
	})
	want := "x\ntemperature,device=door-1,site=w count=7i,deviation=0.5,first=2,last=3,max=4.5,mean=2.25,min=1," +
		"p50=2,p90=3,p95=3.5,p99=4,rate=0.125,revision=2i,time_mean=2.5 60000000000\n" +
		"temperature,device=door-1,site=w,window=session-5m-1h count=0i,revision=3i 60000000000\n"
	if string(got) != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// parse reads one line of line protocol as strictly as it is specified, and
// returns the measurement, the tags and the one field.
func parse(line string) (measurement string, tags map[string]string, field, value string, t int64, err error) {
	end := strings.LastIndexByte(line, ' ')
	if end < 0 {
		return "", nil, "", "", 0, fmt.Errorf("no time in %q", line)
	}
	t, err = strconv.ParseInt(line[end+1:], 10, 64)
	if err != nil {
		return "", nil, "", "", 0, err
	}
	line = line[:end]
	next := func(stops string) (string, byte) {
		var b strings.Builder
		for i := 0; i < len(line); i++ {
			switch c := line[i]; {
			case c == '\\' && i+1 < len(line) && strings.IndexByte(", =", line[i+1]) >= 0:
				i++
				b.WriteByte(line[i])
			case strings.IndexByte(stops, c) >= 0:
				line = line[i+1:]
				return b.String(), c
			default:
				b.WriteByte(c)
			}
		}
		line = ""
		return b.String(), 0
	}
	measurement, stop := next(", ")
	tags = make(map[string]string)
	for stop == ',' {
		var name, v string
		name, _ = next("=")
		v, stop = next(", =")
		if v == "" {
			return "", nil, "", "", 0, fmt.Errorf("empty tag %q", name)
		}
		tags[name] = v
	}
	if measurement == "" || measurement[0] == '#' || stop != ' ' {
		return "", nil, "", "", 0, fmt.Errorf("no measurement or no fields before %q", line)
	}
	field, value, _ = strings.Cut(line, "=")
	return measurement, tags, field, value, t, nil
}

// points divides line protocol at the line breaks outside quotes.
func points(lines string) []string {
	var out []string
	start, quoted := 0, false
	for i := 0; i < len(lines); i++ {
		switch {
		case lines[i] == '\\':
			i++
		case lines[i] == '"':
			quoted = !quoted
		case lines[i] == '\n' && !quoted:
			out = append(out, lines[start:i])
			start = i + 1
		}
	}
	if start < len(lines) {
		out = append(out, lines[start:])
	}
	return out
}

func unquote(s string) (string, error) {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return "", fmt.Errorf("%q is not quoted", s)
	}
	s = s[1 : len(s)-1]
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return "", fmt.Errorf("a quote within %q", s)
		case s[i] == '\\':
			i++
			if i == len(s) || s[i] != '"' && s[i] != '\\' {
				return "", fmt.Errorf("a lone backslash in %q", s)
			}
		}
		b.WriteByte(s[i])
	}
	return b.String(), nil
}

func clean(name string) string {
	b := []byte(name)
	for i, c := range b {
		if c < ' ' || c == 0x7f || c == '\\' || c == '#' && i == 0 {
			b[i] = '_'
		}
	}
	return string(b)
}

func FuzzOneReadingIsOnePoint(f *testing.F) {
	f.Add("w", "door-1", "temperature", "open", 21.5, int64(1700000000000000000))
	f.Add("a,b", "c d", "e=f", "x\" 1\ny,z=1 v=2 3", math.Inf(1), int64(math.MinInt64))
	f.Add(`a\`, `b\,c`, "#m", `\`, math.Copysign(0, -1), int64(0))
	f.Fuzz(func(t *testing.T, site, device, metric, text string, v float64, at int64) {
		if site == "" || device == "" || metric == "" {
			return
		}
		s := Series{Site: site, Device: device, Metric: metric}
		lines := AppendValue(nil, AppendValuePrefix(nil, s), v, at)
		lines = AppendFlag(lines, AppendFlagPrefix(nil, s), v > 0, at)
		lines = AppendText(lines, AppendTextPrefix(nil, s), text, at)
		got := points(string(lines))
		if len(got) != 3 {
			t.Fatalf("%d points: %q", len(got), lines)
		}
		values := map[string]string{}
		for _, line := range got {
			m, tags, field, value, gotAt, err := parse(line)
			if err != nil {
				t.Fatalf("%v in %q", err, line)
			}
			if m != clean(metric) || len(tags) != 2 || tags["site"] != clean(site) || tags["device"] != clean(device) || gotAt != at {
				t.Errorf("%q reads as %q %v %d", line, m, tags, gotAt)
			}
			values[field] = value
		}
		if back, err := strconv.ParseFloat(values["value"], 64); err != nil || back != v && !math.IsNaN(v) {
			t.Errorf("%v became %q", v, values["value"])
		}
		if values["flag"] != strconv.FormatBool(v > 0) {
			t.Errorf("flag %q", values["flag"])
		}
		back, err := unquote(values["text"])
		if err != nil || back != text {
			t.Errorf("%q became %q, %v", text, back, err)
		}
	})
}

func BenchmarkReadings(b *testing.B) {
	const devices = 100
	var prefixes [devices][]byte
	start := time.Now().UnixNano()
	for name, value := range map[string]func(i int) float64{
		"decimals": func(i int) float64 { return 20 + float64(i%1000)/100 },
		"noise":    func(i int) float64 { return math.Sqrt(float64(i)) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var dst []byte
			for i := 0; b.Loop(); i++ {
				if i%5000 == 0 {
					dst = dst[:0]
					for d := range prefixes {
						s := Series{Site: "warehouse", Device: "door-" + strconv.Itoa(d), Metric: "temperature"}
						prefixes[d] = AppendValuePrefix(prefixes[d][:0], s)
					}
				}
				dst = AppendValue(dst, prefixes[i%devices], value(i), start+int64(i))
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N), "ns/reading")
		})
	}
}
