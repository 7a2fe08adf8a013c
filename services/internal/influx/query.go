package influx

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxAnswer bounds the bytes of a query response that are read: about half a
// million points, far more than a chart can show.
const maxAnswer = 32 << 20

// ErrTooLarge is returned by Query for a response beyond the bound. Ask for a
// shorter time, wider buckets or fewer series.
var ErrTooLarge = errors.New("the answer is too large; ask for a shorter time, wider buckets or fewer series")

// Params are the values of the $names of a query. A value is a string, bool,
// int, int64, float64, time.Time, time.Duration or Ident.
type Params map[string]any

// InUnit is a condition for numbers in a unit, $unit; $none is empty when those
// without a unit count too, else the same as $unit.
const InUnit = ` AND ("unit" = $unit OR "unit" = $none)`

// Ident is a value of Params that names a measurement, tag or field.
type Ident string

// Series is one series of a response: one per statement, measurement and group
// of tags. Row i is at Times[i]; Values[i] has one value for each of Columns,
// which does not include the time.
type Series struct {
	// Statement is the index of the statement that produced the series.
	Statement int
	Name      string
	Tags      map[string]string
	// Times are nanoseconds since the Unix epoch; nil if the response has no
	// column of times.
	Times   []int64
	Columns []string
	// Each value is nil, a float64, a bool or a string.
	Values [][]any
}

// Floats returns a numeric column, with NaN where a row has no value; nil if
// there is no such column.
func (s Series) Floats(column string) []float64 {
	for i, c := range s.Columns {
		if c != column {
			continue
		}
		out := make([]float64, len(s.Values))
		for r, row := range s.Values {
			v, ok := row[i].(float64)
			if !ok {
				v = math.NaN()
			}
			out[r] = v
		}
		return out
	}
	return nil
}

// Query runs InfluxQL against a database and retention policy and returns the
// series of all its statements. Each $name outside of quotes is replaced by its
// parameter, quoted so that no value can change the meaning of the query. An
// error is an *Error, ErrTooLarge, or names the wrong parameter. The request
// ends at the deadline of the context or after Config.Timeout, whichever is
// sooner.
func (c *Client) Query(ctx context.Context, database, policy, query string, params Params) ([]Series, error) {
	return c.query(ctx, http.MethodGet, database, policy, query, params)
}

// Exec runs an InfluxQL statement that changes something, in a database if one
// is given.
func (c *Client) Exec(ctx context.Context, database, statement string, params Params) error {
	_, err := c.query(ctx, http.MethodPost, database, "", statement, params)
	return err
}

func (c *Client) query(ctx context.Context, method, database, policy, query string, params Params) ([]Series, error) {
	q, err := Bind(query, params)
	if err != nil {
		return nil, err
	}
	series, err := c.ask(ctx, method, database, policy, q)
	e, refused := errors.AsType[*Error](err)
	if !refused || e.Message != notExecuted || method != http.MethodGet {
		return series, err
	}
	// InfluxDB 1.8 returns this even for the statement that failed if it is the
	// first. Alone, that statement returns the reason, or now succeeds.
	if _, err := c.ask(ctx, method, database, policy, firstStatement(q)); err != nil {
		return nil, err
	}
	return c.ask(ctx, method, database, policy, q)
}

// firstStatement returns a query up to the semicolon that ends its first
// statement.
func firstStatement(q string) string {
	for i := 0; i < len(q); i++ {
		switch c := q[i]; c {
		case '\'', '"':
			i += quoted(q[i:]) - 1
		case ';':
			return q[:i]
		}
	}
	return q
}

// ask runs a query whose parameters are bound.
func (c *Client) ask(ctx context.Context, method, database, policy, q string) ([]Series, error) {
	values := url.Values{"q": {q}, "epoch": {"ns"}}
	if database != "" {
		values.Set("db", database)
	}
	if policy != "" {
		values.Set("rp", policy)
	}
	resp, err := c.do(ctx, method, "query", values, nil)
	if err != nil {
		return nil, c.wrap("query InfluxDB", err)
	}
	defer resp.Body.Close()
	body := &io.LimitedReader{R: resp.Body, N: c.maxAnswer}
	series, err := decode(body)
	switch {
	case body.N <= 0:
		return nil, ErrTooLarge
	case err != nil:
		var e *Error
		if errors.As(err, &e) || errors.Is(err, ErrTooLarge) {
			return nil, err
		}
		return nil, c.wrap("read the answer to a query", err)
	}
	return series, nil
}

// notExecuted is the error of statements that were not run because another one
// failed.
const notExecuted = "not executed"

// response is the JSON of a response of /query.
type response struct {
	Error   string `json:"error"`
	Results []struct {
		Statement int         `json:"statement_id"`
		Error     string      `json:"error"`
		Series    []rawSeries `json:"series"`
	} `json:"results"`
}

// rawSeries is a series whose values are still as JSON has them.
type rawSeries struct {
	Name    string            `json:"name"`
	Tags    map[string]string `json:"tags"`
	Columns []string          `json:"columns"`
	Values  [][]any           `json:"values"`
	Partial bool              `json:"partial"` // cut off at InfluxDB's own bound
}

// decode reads a response of /query.
func decode(r io.Reader) ([]Series, error) {
	var answer response
	d := json.NewDecoder(r)
	// A float64 would round the times.
	d.UseNumber()
	if err := d.Decode(&answer); err != nil {
		return nil, err
	}
	if answer.Error != "" {
		return nil, &Error{Op: "query InfluxDB", Message: answer.Error}
	}
	// The reason why one statement was not executed is the reason of the others as
	// well. The errors come in any order.
	reason := ""
	for _, res := range answer.Results {
		if reason == "" || reason == notExecuted {
			reason = cmp.Or(res.Error, reason)
		}
	}
	if reason != "" {
		return nil, &Error{Op: "query InfluxDB", Message: reason, Hint: hint(reason)}
	}
	var out []Series
	for _, res := range answer.Results {
		for _, raw := range res.Series {
			series, err := raw.decode(res.Statement)
			if err != nil {
				return nil, err
			}
			out = append(out, series)
		}
	}
	return out, nil
}

// decode splits off the column of times, if there is one, and turns numbers into
// float64. It reuses the values.
func (s *rawSeries) decode(statement int) (Series, error) {
	if s.Partial {
		return Series{}, ErrTooLarge
	}
	out := Series{Statement: statement, Name: s.Name, Tags: s.Tags, Columns: s.Columns, Values: s.Values}
	timed := len(s.Columns) > 0 && s.Columns[0] == "time"
	if timed {
		out.Columns = s.Columns[1:]
		out.Times = make([]int64, len(s.Values))
	}
	for i, row := range s.Values {
		if len(row) != len(s.Columns) {
			return Series{}, fmt.Errorf("series %s: row %d has %d values for %d columns", s.Name, i, len(row), len(s.Columns))
		}
		if timed {
			n, _ := row[0].(json.Number)
			t, err := n.Int64()
			if err != nil {
				return Series{}, fmt.Errorf("series %s: row %d: %v is not a time in ns", s.Name, i, row[0])
			}
			out.Times[i] = t
			row = row[1:]
			out.Values[i] = row
		}
		if err := numbers(row); err != nil {
			return Series{}, fmt.Errorf("series %s: row %d: %w", s.Name, i, err)
		}
	}
	return out, nil
}

// numbers turns the numbers of a row into float64.
func numbers(row []any) error {
	for j, v := range row {
		n, ok := v.(json.Number)
		if !ok {
			continue
		}
		f, err := n.Float64()
		if err != nil {
			return err
		}
		row[j] = f
	}
	return nil
}

func hint(message string) string {
	if strings.Contains(message, "not found") {
		return "nothing was written there yet, or --influx-database or --influx-org is wrong"
	}
	return ""
}

// Bind replaces each $name outside of quotes in a query by its parameter. A
// name without a parameter, a parameter without a name, and a value that
// InfluxQL cannot express are errors.
func Bind(query string, params Params) (string, error) {
	var b strings.Builder
	used := make(map[string]bool, len(params))
	for i := 0; i < len(query); {
		switch c := query[i]; {
		case c == '\'' || c == '"':
			end := quoted(query[i:])
			b.WriteString(query[i : i+end])
			i += end
		case c == '$':
			end := i + 1
			for end < len(query) && isWord(query[end]) {
				end++
			}
			name := query[i+1 : end]
			if name == "" { // the end of a regular expression
				b.WriteByte(c)
				i++
				continue
			}
			v, ok := params[name]
			if !ok {
				return "", fmt.Errorf("bind query: no value for $%s", name)
			}
			text, err := literal(v)
			if err != nil {
				return "", fmt.Errorf("bind query: $%s: %w", name, err)
			}
			b.WriteString(text)
			used[name] = true
			i = end
		default:
			b.WriteByte(c)
			i++
		}
	}
	for name := range params {
		if !used[name] {
			return "", fmt.Errorf("bind query: there is no $%s in it", name)
		}
	}
	return b.String(), nil
}

// quoted returns the length of the quoted text at the beginning of s.
func quoted(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case s[0]:
			return i + 1
		}
	}
	return len(s)
}

func isWord(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func literal(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return QuoteString(v), nil
	case Ident:
		return QuoteIdent(string(v)), nil
	case bool:
		return strconv.FormatBool(v), nil
	case int:
		return strconv.Itoa(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return "", fmt.Errorf("InfluxQL cannot write %v", v)
		}
		// InfluxQL has no exponents.
		return strconv.FormatFloat(v, 'f', -1, 64), nil
	case time.Time:
		return strconv.FormatInt(v.UnixNano(), 10), nil
	case time.Duration:
		return strconv.FormatInt(int64(v), 10) + "ns", nil
	default:
		return "", fmt.Errorf("InfluxQL cannot write a %T", v)
	}
}

var (
	identEscaper  = strings.NewReplacer("\n", `\n`, `\`, `\\`, `"`, `\"`)
	stringEscaper = strings.NewReplacer("\n", `\n`, `\`, `\\`, `'`, `\'`)
)

// QuoteIdent quotes the name of a database, policy, measurement, tag or field.
func QuoteIdent(name string) string { return `"` + identEscaper.Replace(name) + `"` }

// QuoteString quotes a text.
func QuoteString(text string) string { return `'` + stringEscaper.Replace(text) + `'` }
