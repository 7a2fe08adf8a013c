package dashboard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/internal/audit"
	"headwater/streams"
	"headwater/streams/streamtest"
	"headwater/web/boards"
)

// pictureForm writes a form with a picture.
func pictureForm(t *testing.T, title string, picture []byte) (kind, body string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	if err := w.WriteField("title", title); err != nil {
		t.Fatal(err)
	}
	part, err := w.CreateFormFile("picture", "hall.png")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := part.Write(picture); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), b.String()
}

// headOfPNG is the beginning of a PNG that says how large it is.
func headOfPNG(width, height uint32) []byte {
	head := binary.BigEndian.AppendUint32([]byte("IHDR"), width)
	head = append(binary.BigEndian.AppendUint32(head, height), 8, 2, 0, 0, 0)
	out := append([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0d"), head...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(head))
}

// TestFloorPlan uploads a picture, places sensors on it, replaces it and deletes it. What is
// no picture, or too large a one, is refused; no picture stays behind.
func TestFloorPlan(t *testing.T) {
	r := newRig(t, nil)
	one := r.service
	r.begin(t) // beside the first, on the same streams
	r.reading("door-1", "temperature", 20.25, time.Now())
	r.ready()
	r.shows("/api/v1/devices", "door-1")
	var drawn, photo bytes.Buffer
	img := image.NewGray(image.Rect(0, 0, 200, 100))
	img.Set(10, 10, color.White)
	if err := png.Encode(&drawn, img); err != nil {
		t.Fatal(err)
	}
	if err := jpeg.Encode(&photo, img, nil); err != nil {
		t.Fatal(err)
	}
	send := func(path, title string, picture []byte) (int, string) {
		t.Helper()
		kind, body := pictureForm(t, title, picture)
		return r.send(http.MethodPost, path, kind, body)
	}
	const script = `<svg xmlns="http://www.w3.org/2000/svg" width="100" height="100"><script>alert(1)</script></svg>`
	for name, c := range map[string]struct {
		title   string
		picture []byte
		says    string
	}{
		"no picture":      {"Hall", nil, "choose a picture"},
		"SVG":             {"Hall", []byte(script), "must be PNG or JPEG"},
		"many bytes":      {"Hall", append(drawn.Bytes(), make([]byte, boards.MaxPicture)...), "at most 4 MiB"},
		"many more bytes": {"Hall", make([]byte, 2*boards.MaxPicture), "at most 4 MiB"},
		"a long side":     {"Hall", headOfPNG(9000, 20), "pixels a side"},
		"many pixels":     {"Hall", headOfPNG(8000, 8000), "pixels a side"},
		"few pixels":      {"Hall", headOfPNG(8, 8), "pixels a side"},
		"no title":        {" ", drawn.Bytes(), "needs a title"},
	} {
		if code, body := send("/plans", c.title, c.picture); code != http.StatusBadRequest || !strings.Contains(body, c.says) {
			t.Errorf("%s: %d, does it say %q? %t", name, code, c.says, strings.Contains(body, c.says))
		}
	}
	if code, body := send("/plans", "Hall", drawn.Bytes()); code != http.StatusSeeOther {
		t.Fatalf("%d %.300s", code, body)
	}
	plan := r.service.boards.Plans()[0]
	path := "/plans/" + plan.ID
	picture := func(kind string, want []byte) {
		t.Helper()
		code, body := r.get(path + "/picture")
		if got, _ := r.service.boards.Plan(plan.ID); code != http.StatusOK || body != string(want) || got.Picture.Type != kind || got.Picture.Width != 200 || got.Picture.Height != 100 {
			t.Errorf("the picture: %d, %d bytes, %+v", code, len(body), got.Picture)
		}
	}
	picture("image/png", drawn.Bytes())

	const series = "home.door-1.temperature"
	for _, c := range []struct {
		form url.Values
		want int
	}{
		{url.Values{"do": {"place"}, "series": {series}}, 303},
		{url.Values{"do": {"move"}, "series": {series}, "x": {"25"}, "y": {"62.5"}}, 303},
		{url.Values{"do": {"move"}, "series": {series}, "x": {"101"}, "y": {"0"}}, 400},
		{url.Values{"do": {"move"}, "series": {series}, "x": {"NaN"}, "y": {"0"}}, 400},
		{url.Values{"do": {"move"}, "series": {"home.door-2.temperature"}, "x": {"1"}, "y": {"1"}}, 404},
		{url.Values{"do": {"place"}, "series": {"nonsense"}}, 400},
		{url.Values{"do": {"paint"}}, 400},
	} {
		if code, body := r.post(path+"/pins", c.form); code != c.want {
			t.Errorf("%v: %d, want %d: %.200s", c.form, code, c.want, body)
		}
	}
	streamtest.Eventually(t, "the other dashboard shows where it is", func() bool {
		p, _ := one.boards.Plan(plan.ID)
		return len(p.Pins) == 1 && p.Pins[0] == boards.Pin{Series: series, X: 0.25, Y: 0.625}
	})
	r.shows(path, "20.25")

	if code, _ := send(path+"/picture", "", []byte(script)); code != http.StatusBadRequest {
		t.Errorf("replaced by SVG: %d", code)
	}
	if code, body := send(path+"/picture", "", photo.Bytes()); code != http.StatusSeeOther {
		t.Errorf("replaced: %d %.300s", code, body)
	}
	picture("image/jpeg", photo.Bytes())
	left := func() int {
		store, err := r.js.ObjectStore(t.Context(), streams.StorePlans)
		if err != nil {
			t.Fatal(err)
		}
		all, err := store.List(t.Context())
		if err != nil && !errors.Is(err, jetstream.ErrNoObjectsFound) {
			t.Fatal(err)
		}
		return len(all)
	}
	if n := left(); n != 1 {
		t.Errorf("there are %d pictures", n)
	}
	if code, _ := r.post(path, url.Values{"do": {"delete"}}); code != http.StatusSeeOther {
		t.Errorf("deleted: %d", code)
	}
	if code, _ := r.get(path); code != http.StatusNotFound || left() != 0 {
		t.Errorf("after it was deleted: %d, %d pictures", code, left())
	}
	found, err := audit.Read(t.Context(), r.js, audit.Query{Size: 100})
	if err != nil {
		t.Fatal(err)
	}
	var done []string
	for _, e := range found.Entries {
		done = append(done, strings.TrimSpace(string(e.Action)+" "+e.After))
	}
	if got := strings.Join(done, ", "); got != "plan.delete, plan.save picture, plan.save series moved, plan.save series placed, plan.save created" {
		t.Errorf("the audit has %s", got)
	}
}
