package gateway_test

import (
	"bytes"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	influxdb2 "github.com/influxdata/influxdb-client-go/v2"
	influxhttp "github.com/influxdata/influxdb-client-go/v2/api/http"
	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"

	telemetryv1 "headwater/proto/telemetry/v1"
	"headwater/services/gateway"
)

// TestClientOfInfluxDB writes with the official client, which knows nothing of Headwater.
func TestClientOfInfluxDB(t *testing.T) {
	f := withCredentials(t)
	options := influxdb2.DefaultOptions().SetUseGZip(true).SetPrecision(time.Second)
	write := func(token string, lines ...string) error {
		client := influxdb2.NewClientWithOptions(f.http.URL, token, options)
		defer client.Close()
		return client.WriteAPIBlocking("org", "home").WriteRecord(t.Context(), lines...)
	}
	refused := func(err error) influxhttp.Error {
		t.Helper()
		var e *influxhttp.Error
		if !errors.As(err, &e) {
			t.Fatalf("error is %v", err)
		}
		return influxhttp.Error{StatusCode: e.StatusCode, Code: e.Code, Message: e.Message}
	}

	client := influxdb2.NewClientWithOptions(f.http.URL, f.gateway, options)
	defer client.Close()
	if ok, err := client.Ping(t.Context()); err != nil || !ok {
		t.Errorf("ping: %t, %v", ok, err)
	}
	point := influxdb2.NewPoint("temperature", map[string]string{"site": "yard", "host": "pi"}, map[string]any{"value": 21.5, "battery": 90}, time.Now())
	if err := client.WriteAPIBlocking("org", "home").WritePoint(t.Context(), point); err != nil {
		t.Errorf("a point: %v", err)
	}
	// Nothing but the credential says whose reading it is.
	if err := write(f.door, "t value=1"); err != nil {
		t.Errorf("a line without tags: %v", err)
	}
	got := refused(write(f.gateway, "a,site=yard,host=pi value=1", "b,site=yard,host=pi value=x", "c,site=yard,host=pi value=3"))
	if got.StatusCode != 400 || got.Code != "invalid" || got.Message != `partial write: unable to parse line 2: value: "x" is neither a number nor true, false or a text in quotes dropped=1` {
		t.Errorf("a bad line: %+v", got)
	}
	if got := refused(write(f.gateway, "t,site=hall,host=door-1 value=2")); got.StatusCode != 400 || !strings.Contains(got.Message, "is not for hall/door-1") {
		t.Errorf("the device of another: %+v", got)
	}
	if got := refused(write("guess", "t value=2")); got.StatusCode != 401 || got.Code != "unauthorized" {
		t.Errorf("a wrong token: %+v", got)
	}
	if err := write("door-1:"+f.door, "t value=5"); err != nil {
		t.Errorf("name and token, as a client writes to InfluxDB 1.8: %v", err)
	}
	want := map[string]int{
		"hall/door-1/t=1": 3, "hall/door-1/t=5": 1, "yard/pi/temperature=21.5": 1, "yard/pi/temperature_battery=90": 1, "yard/pi/a=1": 1, "yard/pi/c=3": 1,
	}
	readings, _ := f.stored()
	want["hall/door-1/t=1"] = readings["hall/door-1/t=1"] // also sent until the credentials are known
	if diff := cmp.Diff(want, readings); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
}

// TestCurlWrites writes as the documents of InfluxDB 1 and 2 say.
func TestCurlWrites(t *testing.T) {
	f := withCredentials(t)
	curl := func(arguments ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "curl", append([]string{"-sS", "-w", " %{http_code}"}, arguments...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("curl: %v: %s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	for name, test := range map[string]struct {
		want      string
		arguments []string
	}{
		"InfluxDB 2":          {"204", []string{f.http.URL + "/api/v2/write?bucket=attic&org=o&precision=ms", "--data-binary", "a,host=h v=1"}},
		"InfluxDB 1":          {"204", []string{f.http.URL + "/write?db=attic", "--data-binary", "b,host=h v=1"}},
		"user of InfluxDB 1":  {"204", []string{f.http.URL + "/write?db=x&u=door-1&p=" + f.door, "--data-binary", "c v=1"}},
		"wrong password":      {`{"error":"the credential is unknown, or its token wrong"}` + "\n 401", []string{f.http.URL + "/write?db=x&u=door-1&p=guess", "--data-binary", "c v=2"}},
		"Basic":               {"204", []string{"-u", "door-1:" + f.door, f.http.URL + "/write?db=x", "--data-binary", "d v=1"}},
		"create the database": {`{"results":[{"statement_id":0}]}` + "\n 200", []string{f.http.URL + "/query", "--data-urlencode", "q=CREATE DATABASE attic"}},
		"query":               {`{"error":"this server takes writes and no queries: see /api/v1/openapi.json for how to read"}` + "\n 400", []string{"-G", f.http.URL + "/query", "--data-urlencode", "q=SELECT 1"}},
		"bad line of InfluxDB 1": {
			`{"error":"partial write: unable to parse line 1: \"x\" has no fields: a line is measurement,tag=value field=value time dropped=1"}` + "\n 400",
			[]string{f.http.URL + "/write?db=attic", "--data-binary", "x\ne,host=h v=1"},
		},
		"precision":                {`{"code":"invalid","message":"precision \"days\" is none of ns, us, ms, s, m and h"}` + "\n 400", []string{f.http.URL + "/api/v2/write?precision=days", "--data-binary", "x v=1"}},
		"declared tags":            {"204", []string{f.http.URL + "/api/v2/write?site=cellar&device_tag=sensor", "--data-binary", "f,host=h,sensor=s value=1"}},
		"a page of another origin": {"cross-origin request detected from Sec-Fetch-Site header\n 403", []string{"-H", "Sec-Fetch-Site: cross-site", f.http.URL + "/write", "--data-binary", "x,host=h v=1"}},
	} {
		if got := curl(test.arguments...); got != test.want {
			t.Errorf("%s: %s\nwant %s", name, got, test.want)
		}
	}
	readings, _ := f.stored()
	delete(readings, "hall/door-1/t=1")
	want := map[string]int{"attic/h/a_v=1": 1, "attic/h/b_v=1": 1, "hall/door-1/c_v=1": 1, "hall/door-1/d_v=1": 1, "attic/h/e_v=1": 1, "cellar/s/f_h=1": 1}
	if diff := cmp.Diff(want, readings); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
}

// TestWriteWaitsForTheStream answers a client of InfluxDB so that it sends again.
func TestWriteWaitsForTheStream(t *testing.T) {
	f := run(t).ready()
	f.limit(0)
	f.post(item("a", 1))
	response, err := f.http.Client().Post(f.http.URL+gateway.PathWrite2, "", strings.NewReader("m,host=h value=1"))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != 503 || response.Header.Get("Retry-After") == "" || !strings.HasPrefix(string(body), `{"code":"unavailable","message":"`) {
		t.Errorf("answer is %d %v %s, %v", response.StatusCode, response.Header, body, err)
	}
}

func TestZstd(t *testing.T) {
	f := run(t, func(c *gateway.Config) { c.MaxBody = 1 << 20 }).ready()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	pack := func(body []byte) []byte { return w.EncodeAll(body, nil) }
	for _, test := range []struct {
		name   string
		body   []byte
		status int
		detail string
	}{
		{"stored", pack([]byte(item("a", 1))), 202, ""},
		{"two frames", append(pack([]byte("["+item("b", 1))), pack([]byte("]"))...), 202, ""},
		{"not zstd", []byte(item("a", 1)), 400, "not valid zstd"},
		{"cut short", pack([]byte(item("a", 1)))[:20], 400, "not valid zstd"},
		{"too large", pack(noise(2 << 20)), 413, "in parts"},
		{"bomb", pack(make([]byte, 1<<20)), 413, "200 times"},
		{"large bomb", pack(make([]byte, 16<<20)), 413, "in parts"},
	} {
		got, err := f.send(bytes.NewReader(test.body), "Content-Type", "application/json", "Content-Encoding", "zstd")
		if err != nil || got.Status != test.status || !strings.Contains(got.Error, test.detail) {
			t.Errorf("%s: answer is %+v, %v", test.name, got, err)
		}
	}
	if readings, _ := f.stored(); len(readings) != 2 {
		t.Errorf("stored %v", readings)
	}
}

func TestBatch(t *testing.T) {
	f := run(t).ready()
	var b telemetryv1.Builder
	now := time.Now().UnixNano()
	key := func(device, metric string) telemetryv1.Key {
		return telemetryv1.Key{Site: "s", Device: device, Metric: metric, Unit: "°C"}
	}
	b.Value(key("a", "t"), now, 1)
	b.Value(key("a", "u"), 0, 2)
	b.Value(key("a b", "t"), now, 3)
	b.Value(key("a", "t"), 1, 4)
	b.Value(key("c", "t"), now, 5)
	body, err := proto.Marshal(b.Take(0))
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.send(bytes.NewReader(body), "Content-Type", "application/x-protobuf")
	if err != nil {
		t.Fatal(err)
	}
	want := reply{Status: 202, Accepted: 2, Rejected: 2, Readings: 3, Errors: []itemError{
		{2, "device", "payload", `the name "a b" has characters other than A-Z, a-z, 0-9, _ and -`},
		{3, "ts", "clock", "the event time 1970-01-01T00:00:00.000000001Z is more than 7 d before its arrival"},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	if readings, _ := f.stored(); readings["s/a/t=1"] != 1 || readings["s/a/u=2"] != 1 || readings["s/c/t=5"] != 1 || len(readings) != 3 {
		t.Errorf("stored %v", readings)
	}
	for name, body := range map[string][]byte{"not a batch": []byte("x"), "malformed": {0x1a, 1, 7}} {
		if got, err := f.send(bytes.NewReader(body), "Content-Type", "application/x-protobuf"); err != nil || got.Status != 400 {
			t.Errorf("%s: answer is %+v, %v", name, got, err)
		}
	}
	if got, err := f.send(bytes.NewReader(make([]byte, 1<<20+1)), "Content-Type", "application/x-protobuf"); err != nil || got.Status != 413 {
		t.Errorf("too large: answer is %+v, %v", got, err)
	}
}
