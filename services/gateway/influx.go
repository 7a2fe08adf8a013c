package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"headwater/services/decode"
	"headwater/services/internal/credentials"
)

// Paths of InfluxDB. What writes line protocol there may write it here, unchanged:
// Telegraf, and the client libraries.
const (
	// PathWrite2 is for InfluxDB 2 and 3, PathWrite1 for InfluxDB 1.
	PathWrite2 = "/api/v2/write"
	PathWrite1 = "/write"

	// pathQuery takes the CREATE DATABASE that clients of InfluxDB 1 begin with, pathPing
	// the question whether the server is there.
	pathQuery = "/query"
	pathPing  = "/ping"
)

func (s *Service) routeInflux(mux *http.ServeMux) {
	// Such a body has any type, or none. So a web page of another origin could send one
	// through the browser of a user who can reach the gateway.
	own := http.NewCrossOriginProtection()
	mux.Handle("POST "+PathWrite2, own.Handler(s.write(influx2)))
	mux.Handle("POST "+PathWrite1, own.Handler(s.write(influx1)))
	mux.HandleFunc(pathQuery, s.createDatabase)
	mux.HandleFunc(pathPing, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
}

// dialect makes the body of an error as a version of InfluxDB writes it. Line is where the
// first line is that was refused, from 1; 0 when it is not about a line.
type dialect func(w http.ResponseWriter, status int, message string, line int) any

func influx1(w http.ResponseWriter, _ int, message string, _ int) any {
	w.Header().Set("X-Influxdb-Error", message)
	return struct {
		Error string `json:"error"`
	}{message}
}

func influx2(_ http.ResponseWriter, status int, message string, line int) any {
	code := map[int]string{
		http.StatusUnauthorized: "unauthorized", http.StatusRequestEntityTooLarge: "request too large",
		http.StatusTooManyRequests: "too many requests", http.StatusServiceUnavailable: "unavailable",
	}[status]
	if code == "" {
		code = "invalid"
	}
	return struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Line    int    `json:"line,omitempty"`
	}{code, message, line}
}

// write takes a body of line protocol. It answers 204 when all of it is stored.
func (s *Service) write(as dialect) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		fail := func(status int, message string, line int) { s.respond(w, status, as(w, status, message, line)) }
		format, err := s.lineFormat(r.URL.Query())
		if err != nil {
			fail(http.StatusBadRequest, err.Error(), 0)
			return
		}
		body, f := s.take(w, r, func(from credentials.Credential, d *decode.Decoder, body []byte, arrival int64) ([]decode.Item, error) {
			return d.Lines(body, addressOf(format, from), arrival)
		}, 0)
		switch {
		case f != nil:
			s.explain(w, r, f)
			fail(f.status, f.Error, 0)
		case body.Rejected > 0:
			fail(http.StatusBadRequest, partial(body), body.Errors[0].Index+1)
		default:
			s.metrics.requests.WithLabelValues(strconv.Itoa(http.StatusNoContent)).Inc()
			w.WriteHeader(http.StatusNoContent)
		}
	}
}

// linesShown bounds the lines that an error names.
const linesShown = 10

// partial says which lines were refused, and why.
func partial(a answer) string {
	var b strings.Builder
	if a.Accepted > 0 {
		b.WriteString("partial write: ")
	}
	for i, e := range a.Errors[:min(len(a.Errors), linesShown)] {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "unable to parse line %d: %s", e.Index+1, e)
	}
	if a.Rejected > linesShown {
		b.WriteString("; and others")
	}
	fmt.Fprintf(&b, " dropped=%d", a.Rejected)
	return b.String()
}

// precisions are what a timestamp counts, as the versions of InfluxDB write it.
var precisions = map[string]time.Duration{
	"": time.Nanosecond, "ns": time.Nanosecond, "n": time.Nanosecond,
	"us": time.Microsecond, "u": time.Microsecond, "µ": time.Microsecond,
	"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour,
}

// lineFormat reads the parameters of a request. The site of lines that name none is the
// parameter site, or that of the credential, or the bucket or database.
func (s *Service) lineFormat(q url.Values) (decode.LineFormat, error) {
	f := decode.LineFormat{Names: decode.LineNames{
		SiteTags: s.cfg.LineSiteTags, DeviceTags: s.cfg.LineDeviceTags, Site: q.Get("site"), Device: q.Get("device"),
	}}
	var known bool
	f.Precision, known = precisions[q.Get("precision")]
	if !known {
		return f, fmt.Errorf("precision %q is none of ns, us, ms, s, m and h", clip(q.Get("precision")))
	}
	for name, tags := range map[string]*[]string{"site_tag": &f.Names.SiteTags, "device_tag": &f.Names.DeviceTags} {
		if v := q.Get(name); v != "" {
			*tags = strings.Split(v, ",")
		}
	}
	if err := checkNames(f.Names.Site, f.Names.Device); err != nil {
		return f, err
	}
	bucket := q.Get("bucket")
	if bucket == "" {
		bucket = q.Get("db")
	}
	bucket, _, _ = strings.Cut(bucket, "/") // the retention policy of InfluxDB 1
	f.Names.Bucket = bucket
	return f, nil
}

// addressOf completes the names with those of a credential that has only one.
func addressOf(f decode.LineFormat, from credentials.Credential) decode.LineFormat {
	if len(from.Devices) == 1 {
		only := from.Devices[0]
		if f.Names.Site == "" && only.Site != credentials.Any {
			f.Names.Site = only.Site
		}
		if f.Names.Device == "" && only.Exact() {
			f.Names.Device = only.Device
		}
	}
	return f
}

// createDatabase confirms that there is the database that a client of InfluxDB 1 wants.
// Nothing is created: any name is good.
func (s *Service) createDatabase(w http.ResponseWriter, r *http.Request) {
	query := strings.TrimSpace(r.URL.Query().Get("q"))
	if query == "" && r.Method == http.MethodPost {
		r.Body = http.MaxBytesReader(w, r.Body, maxQuery)
		query = strings.TrimSpace(r.PostFormValue("q"))
	}
	const wanted = "CREATE DATABASE "
	if len(query) < len(wanted) || !strings.EqualFold(query[:len(wanted)], wanted) {
		s.respond(w, http.StatusBadRequest, influx1(w, 0, "this server takes writes and no queries: see /api/v1/openapi.json for how to read", 0))
		return
	}
	s.respond(w, http.StatusOK, json.RawMessage(`{"results":[{"statement_id":0}]}`))
}

// maxQuery bounds the form of a query, in bytes.
const maxQuery = 4096

// clip keeps what a stranger sent short in an answer.
func clip(text string) string { return text[:min(len(text), 64)] }
