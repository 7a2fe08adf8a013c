package decode_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"headwater/services/decode"
)

// lineForm is what the gateway uses when nothing else is declared.
var lineForm = decode.LineFormat{Names: decode.LineNames{SiteTags: []string{"site"}, DeviceTags: []string{"host", "device"}, Bucket: "home"}}

// written writes items as "line site/device metric=value@time" and "line! error".
func written(items []decode.Item) (out []string) {
	for _, i := range items {
		if i.Err != nil {
			out = append(out, fmt.Sprintf("%d! %s", i.Index, i.Err))
		}
		for _, r := range i.Readings {
			when := "-"
			if r.HasTime {
				when = time.Unix(0, r.Time).UTC().Format(time.RFC3339Nano)
			}
			out = append(out, fmt.Sprintf("%d %s/%s %s=%v@%s", i.Index, i.Site, i.Device, r.Metric, map[decode.Kind]any{
				decode.Value: r.Value, decode.Flag: r.Flag, decode.Text: fmt.Sprintf("%q", r.Text),
			}[r.Kind], when))
		}
	}
	return out
}

func TestLines(t *testing.T) {
	const when = "1773500966000000000" // 2026-03-14T15:09:26Z
	for _, test := range []struct {
		name, body string
		change     func(*decode.LineFormat)
		want       []string
	}{
		{"measurement and field", "temperature,site=hall,device=door-1 value=21.5 " + when, nil, []string{"0 hall/door-1 temperature=21.5@2026-03-14T15:09:26Z"}},
		{"without a time", "temperature,site=hall,device=door-1 value=21.5", nil, []string{"0 hall/door-1 temperature=21.5@-"}},
		{"kinds", `m,device=d f=1.5,i=3i,u=4u,n=-2,e=1e3,t=t,no=FALSE,s="a b"`, nil, []string{
			"0 home/d m_f=1.5@-", "0 home/d m_i=3@-", "0 home/d m_u=4@-", "0 home/d m_n=-2@-", "0 home/d m_e=1000@-", "0 home/d m_t=true@-", "0 home/d m_no=false@-", `0 home/d m_s="a b"@-`,
		}},
		{"Telegraf cpu", "cpu,cpu=cpu-total,host=pi.lan usage_idle=98.5,usage_user=1 " + when + "\ncpu,cpu=cpu0,host=pi.lan usage_idle=97 " + when + "\n", nil, []string{
			"0 home/pi_lan cpu_cpu-total_usage_idle=98.5@2026-03-14T15:09:26Z", "0 home/pi_lan cpu_cpu-total_usage_user=1@2026-03-14T15:09:26Z",
			"1 home/pi_lan cpu_cpu0_usage_idle=97@2026-03-14T15:09:26Z",
		}},
		// The tag device of the disk is not the device: two hosts have a disk of that name.
		{"Telegraf disk", "disk,device=sda1,fstype=ext4,host=pi,mode=rw,path=/ used=7i\ndisk,device=sda2,fstype=ext4,host=pi,mode=rw,path=/home used=8i", nil, []string{
			"0 home/pi disk_sda1_ext4_rw_used=7@-", "1 home/pi disk_sda2_ext4_rw_home_used=8@-",
		}},
		{"other tags", "t,host=gw,sensor=s1,room=attic value=1", func(f *decode.LineFormat) {
			f.Names.DeviceTags, f.Names.SiteTags = []string{"sensor"}, []string{"room"}
		}, []string{"0 attic/s1 t_gw=1@-"}},
		{"named by the sender", "t value=1", func(f *decode.LineFormat) { f.Names.Site, f.Names.Device = "hall", "door-1" }, []string{"0 hall/door-1 t=1@-"}},
		{"a tag wins", "t,device=d value=1", func(f *decode.LineFormat) { f.Names.Device = "door-1" }, []string{"0 home/d t=1@-"}},
		{"nothing names it", "weather,location=us-midwest temperature=82", func(f *decode.LineFormat) { f.Names.Bucket = "" }, []string{"0 default/weather weather_us-midwest_temperature=82@-"}},
		{"names with other characters", "Küche,host=a°b/c %=1", nil, []string{"0 home/a_b_c K_che=1@-"}},
		{"tags in any order", "m,b=2,a=1,host=h value=1", nil, []string{"0 home/h m_1_2=1@-"}},
		{"escapes", `my\ m\,x,host=a\ b,k\=ey=v\,w fi\ eld="q\"u\\o" `, nil, []string{`0 home/a_b my_m_x_v_w_fi_eld="q\"u\\o"@-`}},
		{"comments and blank lines", "# a comment\r\n\r\n  \nm,host=h value=1\r\n", nil, []string{"3 home/h m=1@-"}},
		{"a text of two lines", "m,host=h s=\"a\nb\"\nm,host=h value=2", nil, []string{`0 home/h m_s="a\nb"@-`, "2 home/h m=2@-"}},
		{"seconds", "m,host=h value=1 1773500966", func(f *decode.LineFormat) { f.Precision = time.Second }, []string{"0 home/h m=1@2026-03-14T15:09:26Z"}},
		{"seconds that are not declared", "m,host=h value=1 1773500966", nil, []string{
			"0! ts: the event time 1970-01-01T00:00:01.773500966Z is more than 7 d before its arrival; does the parameter precision say what the time counts?",
		}},
		{"time beyond", "m,host=h value=1 9223372036854775807", func(f *decode.LineFormat) { f.Precision = time.Hour }, []string{
			`0! ts: "9223372036854775807" is beyond every calendar: a time is a number of seconds, milliseconds, microseconds or nanoseconds since 1970, or a text such as 2026-03-14T15:09:26Z`,
		}},
		{"bad lines do not stop the others", "m,host=h value=1\nm\nm,host=h\nm,host value=1\nm,host=h value\nm,host=h value=\nm,host=h value=1 x\nm,host=h value=1 1 1\n,a=b c=1\nm,host=h value=2", nil, []string{
			"0 home/h m=1@-", `1! "m" has no fields: a line is measurement,tag=value field=value time`, `2! the line ends in the tag "host" and has no fields`,
			`3! the tag "host" is not key=value`, `4! a field is missing after "m": it is key=value`, "5! value: the value is missing",
			`6! ts: "x" is not a time: a time is a whole number`, `7! something follows the time: "1\n,a=b c=1\nm,host=h value=2"`, "8! the measurement is missing", "9 home/h m=2@-",
		}},
		{"a bad field does not stop the others", `m,host=h a=1,b=x,c=1.5i,d=NaN,e=3`, nil, []string{
			"0 home/h m_a=1@-", "0 home/h m_e=3@-", `0! b: "x" is neither a number nor true, false or a text in quotes`, `0! c: "1.5i" is not a whole number`,
			`0! d: "NaN" is neither a number nor true, false or a text in quotes`,
		}},
		{"a text without its end", "m,host=h s=\"a\nm,host=h value=2", nil, []string{"0! s: the text has no closing quote", "1 home/h m=2@-"}},
		{"a long name", "m,host=h,k=" + strings.Repeat("x", 80) + " value=1", nil, []string{"0 home/h m_" + strings.Repeat("x", 53) + "_bb6a17a5=1@-"}},
		{"empty", "", nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			form := lineForm
			if test.change != nil {
				test.change(&form)
			}
			items, err := decode.New(decode.DefaultLimits(), nil, nil).Lines([]byte(test.body), form, at(arrival))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, written(items), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestLinesAreBounded(t *testing.T) {
	limits := decode.DefaultLimits()
	limits.Readings, limits.Keys = 3, 4
	d := decode.New(limits, nil, nil)
	for body, want := range map[string]string{
		strings.Repeat("m value=1\n", 4):             "more than 3 lines",
		strings.Repeat("m a=1,b=1,c=1,d=1,e=1\n", 1): "more than 4 fields",
		"m,a=1,b=1,c=1,d=1,e=1 value=1":              "more than 4 tags",
		strings.Repeat("x", limits.Payload+1):        "bytes, more than",
	} {
		items, err := d.Lines([]byte(body), lineForm, at(arrival))
		if err == nil && len(items) > 0 && items[0].Err != nil {
			err = items[0].Err
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %q", err, want)
		}
	}
}

func FuzzLines(f *testing.F) {
	for _, s := range []string{"m,host=h value=1 1773500966000000000", `m,a=b c="x\"y",d=1i`, "a\\ b,c=d e=t\n#\n\nx y=1", "m a=\"", "m,=,= =", "\\"} {
		f.Add([]byte(s))
	}
	d := decode.New(decode.DefaultLimits(), nil, nil)
	f.Fuzz(func(t *testing.T, body []byte) {
		items, err := d.Lines(body, lineForm, at(arrival))
		if err != nil {
			checkError(t, err)
			return
		}
		for _, item := range items {
			if item.Err != nil {
				checkError(t, item.Err)
				continue
			}
			checkToken(t, item.Site)
			checkToken(t, item.Device)
			checkReadings(t, item.Readings, true)
		}
	})
}

func BenchmarkLines(b *testing.B) {
	const n = 1000
	var body strings.Builder
	for i := range n {
		fmt.Fprintf(&body, "temperature,site=hall,device=door-%d value=%d.5 1773500966000000000\n", i%20, i)
	}
	d := decode.New(decode.DefaultLimits(), nil, nil)
	text := []byte(body.String())
	b.ReportAllocs()
	for b.Loop() {
		if items, err := d.Lines(text, lineForm, at(arrival)); err != nil || len(items) != n {
			b.Fatal(len(items), err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/reading")
}
