package decode_test

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/services/decode"
)

// bytesOf reads hexadecimal digits with spaces between them.
func bytesOf(t testing.TB, digits string) string {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestBody(t *testing.T) {
	hall := decode.Source{Site: "hall"}
	gateway := decode.Source{Site: "hall", Device: "gw"}
	for _, test := range []struct {
		name string
		form decode.Form
		from decode.Source
		body string
		want []string
	}{
		{"items", decode.FormJSON, decode.Source{}, `[{"site":"s","device":"d","metric":"m","value":1},{"site":"s"}]`, []string{"s/d m=1", "! payload device: the device is missing"}},
		{"object of a device", decode.FormJSON, gateway, `{"a":1,"b":{"c":true},"e":"nan"}`, []string{"hall/gw a=1", "hall/gw b_c=true", "! value e: nan is not a number that can be stored"}},
		{"lines of JSON", decode.FormNDJSON, gateway, "{\"a\":1,\"ts\":1773500966}\n\n{\"a\":\n{\"a\":2}\r\n", []string{
			"hall/gw a=1 @15:09:26", "! payload it is not valid JSON at line 1, column 6: it ends too early", "hall/gw a=2",
		}},
		{"lines of items", decode.FormNDJSON, decode.Source{}, `{"site":"s","device":"a","metric":"m","value":1}` + "\n" + `{"site":"s","device":"b","values":{"m":2}}`, []string{"s/a m=1", "s/b m=2"}},

		{"CSV of metrics", decode.FormCSV, gateway, "time,temperature,door open,note\n2026-03-14T15:09:26Z,21.5,true,warm\n1773500966,,off,\n", []string{
			"hall/gw temperature=21.5 @15:09:26", "hall/gw door_open=true @15:09:26", `hall/gw note="warm" @15:09:26`, "hall/gw door_open=false @15:09:26",
		}},
		{"CSV of values", decode.FormCSV, hall, "device,metric,value,unit,ts\na,temperature,21.5,°C,1773500966\nb,humidity,40,%,\n", []string{
			"hall/a temperature=21.5 °C @15:09:26", "hall/b humidity=40 %",
		}},
		{"CSV with semicolons", decode.FormCSV, gateway, "\ufefftemperature;humidity\n\"21,5\";40\n", []string{"hall/gw temperature=21.5", "hall/gw humidity=40"}},
		{"CSV with tabs", decode.FormCSV, gateway, "a\tb\n1\t2\n", []string{"hall/gw a=1", "hall/gw b=2"}},
		{"CSV with a bad cell and a bad line", decode.FormCSV, gateway, "a,b\n1,nan\n\"x\"y,2\n3,4\n", []string{
			"hall/gw a=1", "! value b: nan is not a number that can be stored", `! payload line 3: extraneous or missing " in quoted-field`, "hall/gw a=3", "hall/gw b=4",
		}},
		{"CSV without a device", decode.FormCSV, hall, "a\n1\n", []string{"! payload device: the device is missing"}},

		// RFC 8428, 5.1.1 to 5.1.4, with times of these tests.
		{"SenML: one value", decode.FormSenML, hall, `[{"n":"urn:dev:ow:10e2073a01080063","u":"Cel","v":23.1}]`, []string{"hall/ow_10e2073a01080063 value=23.1 °C"}},
		{"SenML: no device", decode.FormSenML, hall, `[{"n":"temperature","v":23.1}]`, []string{"! payload device: the device is missing"}},
		{"SenML: base name", decode.FormSenML, hall, `[{"bn":"urn:dev:ow:10e2073a01080063:","n":"temperature","u":"Cel","v":23.1}]`, []string{"hall/ow_10e2073a01080063 temperature=23.1 °C"}},
		{"SenML: name of a device and a metric", decode.FormSenML, hall, `[{"n":"urn:dev:mac:0024befffe804ff1/current","u":"A","v":1.5}]`, []string{"hall/mac_0024befffe804ff1 current=1.5 A"}},
		{"SenML: base values", decode.FormSenML, hall, `[{"bn":"urn:dev:ow:10e2073a0108006:","bt":1773500966.001,"bu":"A","bver":5,"n":"voltage","u":"V","v":120.1},{"n":"current","t":-5,"v":1.2},{"n":"current","t":-4,"v":1.3}]`, []string{
			"hall/ow_10e2073a0108006 voltage=120.1 V @15:09:26", "hall/ow_10e2073a0108006 current=1.2 A @15:09:21", "hall/ow_10e2073a0108006 current=1.3 A @15:09:22",
		}},
		{"SenML: kinds of values", decode.FormSenML, gateway, `[{"n":"label","vs":"Machine Room"},{"n":"open","vb":false},{"n":"nfc-reader","vd":"aGkgCg"},{"n":"energy","u":"J","bv":10,"v":5,"s":7}]`, []string{
			`hall/gw label="Machine Room"`, "hall/gw open=false", `hall/gw nfc-reader="aGkgCg"`, "hall/gw energy=15 J", "hall/gw energy_sum=7",
		}},
		{"SenML: relative time", decode.FormSenML, gateway, `[{"n":"a","v":1,"t":-60.535897932}]`, []string{"hall/gw a=1 @15:08:26"}},
		{"SenML: what must be understood", decode.FormSenML, gateway, `[{"n":"a","v":1,"x_":1},{"n":"b","v":2,"bver":11},{"n":"c","v":3}]`, []string{
			"! payload x_: the record must not be read by who does not know this label", "! payload bver: version 11 of SenML is not known", "hall/gw c=3",
		}},
		// The labels of RFC 8428, 6: -2 is bn, 0 n, 1 u and 2 v.
		{"SenML in CBOR", decode.FormSenMLCBOR, hall, bytesOf(t, "81 a4 21 6e 75726e3a6465763a6d61633a313a 00 61 74 01 63 43656c 02 f9 4de0"), []string{"hall/mac_1 t=23.5 °C"}},

		// RFC 8949, appendix A.
		{"CBOR", decode.FormCBOR, gateway, bytesOf(t, "bf 61 61 01 61 62 9f 02 03 ff 61 63 7f 65 7374726561 64 6d696e67 ff 61 64 f5 61 65 f6 ff"), []string{
			"hall/gw a=1", "hall/gw b_0=2", "hall/gw b_1=3", `hall/gw c="streaming"`, "hall/gw d=true",
		}},
		{"CBOR of numbers", decode.FormCBOR, gateway, bytesOf(t, "a9 61 61 f9 3c00 61 62 fa 47c35000 61 63 fb 3ff199999999999a 61 64 38 63 61 65 1b 000000e8d4a51000"+
			"61 66 1b ffffffffffffffff 61 67 f9 7e00 61 68 fa 41ac3d71 62 7473 c1 1a 69b57a66"), []string{
			"hall/gw a=1 @15:10:30", "hall/gw b=100000 @15:10:30", "hall/gw c=1.1 @15:10:30", "hall/gw d=-100 @15:10:30", "hall/gw e=1e+12 @15:10:30",
			`hall/gw f="18446744073709551615" @15:10:30`, "hall/gw h=21.53 @15:10:30", "! value g: NaN is not a number that can be stored",
		}},
		{"CBOR of items", decode.FormCBOR, decode.Source{}, bytesOf(t, "a4 64 73697465 61 73 66 646576696365 61 64 66 6d6574726963 61 6d 65 76616c7565 18 2a"), []string{"s/d m=42"}},
		// The example of msgpack.org, then each kind of number.
		{"MessagePack", decode.FormMessagePack, gateway, bytesOf(t, "82 a7 636f6d70616374 c3 a6 736368656d61 00"), []string{"hall/gw compact=true", "hall/gw schema=0"}},
		{"MessagePack of numbers", decode.FormMessagePack, gateway, bytesOf(t, "de 0008 a1 61 ff a1 62 cc c8 a1 63 d1 ff38 a1 64 ca 41ac0000 a1 65 cb 4035800000000000"+
			"a1 66 dc 0002 01 d9 02 6f6e a1 67 c0 a1 68 d3 fffffffffffffffe"), []string{
			"hall/gw a=-1", "hall/gw b=200", "hall/gw c=-200", "hall/gw d=21.5", "hall/gw e=21.5", "hall/gw f_0=1", "hall/gw f_1=true", "hall/gw h=-2",
		}},

		{"lines", decode.FormLines, hall, "weather,device=roof,location=us-midwest temperature=82,humidity=71i 1773500966535897932\nweather,device=roof temperature=81.5", []string{
			"hall/roof weather_us-midwest_temperature=82 @15:09:26.535", "hall/roof weather_us-midwest_humidity=71 @15:09:26.535", "hall/roof weather_temperature=81.5",
		}},
		{"lines of a device", decode.FormLines, gateway, "cpu,host=nas usage_idle=99.5", []string{"hall/gw cpu_nas_usage_idle=99.5"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := decode.New(decode.DefaultLimits(), nil, nil).Body(test.form, test.from, []byte(test.body), at(arrival))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, lines(got)); diff != "" {
				t.Errorf("Body (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBodyIsRefused(t *testing.T) {
	limits := decode.DefaultLimits()
	limits.Payload = 1 << 20
	many := func(line string) string { return strings.Repeat(line, limits.Readings+1) }
	for _, test := range []struct {
		name         string
		form         decode.Form
		body, detail string
	}{
		{"form", "paper", "", "not known"},
		{"JSON", decode.FormJSON, "{", "too early"},
		{"SenML of no array", decode.FormSenML, "{}", "array of records"},
		{"SenML cut short", decode.FormSenML, `[{"n":"a","v":1}`, "too early"},
		{"CSV without names", decode.FormCSV, "21.5,40", "must name the columns"},
		{"CSV with a column twice", decode.FormCSV, "ts,time,a\n", "twice"},
		{"CBOR cut short", decode.FormCBOR, "\xa1\x61", "ends too early"},
		{"CBOR that claims to be long", decode.FormCBOR, "\x9b\x7f\xff\xff\xff\xff\xff\xff\xff", "ends too early"},
		{"CBOR with something behind", decode.FormCBOR, "\x01\x02", "follows"},
		{"CBOR nested", decode.FormCBOR, strings.Repeat("\x81", 1000), "32 deep"},
		{"CBOR with an object for a name", decode.FormCBOR, "\xa1\xa0\x01", "neither a text nor a number"},
		{"MessagePack cut short", decode.FormMessagePack, "\xdd\xff\xff\xff\xff", "ends too early"},
		{"MessagePack of a text that is none", decode.FormMessagePack, "\xa1\xff", "not UTF-8"},
		{"MessagePack with an unknown kind", decode.FormMessagePack, "\xc1", "not known"},
		{"too large", decode.FormLines, strings.Repeat(" ", 1<<20+1), "more than 1048576"},
		{"too many lines of CSV", decode.FormCSV, "a,b\n" + many("1,2\n"), "more than 10000 lines"},
		{"too many lines of JSON", decode.FormNDJSON, many("{\"a\":1}\n"), "more than 10000 items"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := decode.New(limits, nil, nil).Body(test.form, decode.Source{Site: "hall", Device: "gw"}, []byte(test.body), at(arrival))
			var e *decode.Error
			if !errors.As(err, &e) || !strings.Contains(e.Error(), test.detail) {
				t.Errorf("the error is %v, want %q", err, test.detail)
			}
		})
	}
}

// TestFormOfAPayload: a topic that names only a device takes any form by its content.
func TestFormOfAPayload(t *testing.T) {
	d := decode.New(decode.DefaultLimits(), nil, nil)
	for _, test := range []struct {
		metric, payload string
		want            []string
	}{
		{"", `[{"bn":"x","n":"a","v":1}]`, []string{"a=1"}},
		{"", "{\"a\":1}\n{\"b\":2}", []string{"a=1", "b=2"}},
		{"", "{\n \"a\":1\n}", []string{"a=1"}},
		{"", "a,b\n1,2", []string{"a=1", "b=2"}},
		{"", "m,t=x a=1", []string{"m_x_a=1"}},
		{"", bytesOf(t, "a1 61 61 01"), []string{"a=1"}},
		{"", bytesOf(t, "81 a1 61 01"), []string{"a=1"}},
		{"m", bytesOf(t, "fa 41ac0000"), []string{"m=21.5"}},
		{"m", bytesOf(t, "a1 61 61 01"), []string{"m_a=1"}},
		{"m", "a,b\n1,2", []string{`m="a,b\n1,2"`}},
		{"m", "door is open=1", []string{`m="door is open=1"`}},
	} {
		readings, err := d.Append(nil, "hall", "d", test.metric, []byte(test.payload), at(arrival))
		if err != nil {
			t.Errorf("%q: %v", test.payload, err)
			continue
		}
		var got []string
		for _, line := range lines([]decode.Item{{Site: "hall", Device: "d", Readings: readings}}) {
			got = append(got, strings.TrimPrefix(line, "hall/d "))
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.payload, diff)
		}
	}
	for _, payload := range []string{"21.5", "open", `"open"`, "\x01\x02\x03", "[1,2]", "[]"} {
		if got, err := d.Append(nil, "hall", "d", "", []byte(payload), at(arrival)); err == nil {
			t.Errorf("%q became %v", payload, got)
		}
	}
	for kind, want := range map[string]decode.Form{"application/senml+cbor": decode.FormSenMLCBOR, "text/csv": decode.FormCSV, "text/html": ""} {
		if got := decode.FormOf(kind); got != want {
			t.Errorf("%s is %q, want %q", kind, got, want)
		}
	}
}

// FuzzBody gives every form any bytes.
func FuzzBody(f *testing.F) {
	forms := []decode.Form{
		decode.FormJSON, decode.FormNDJSON, decode.FormCSV, decode.FormSenML, decode.FormSenMLCBOR, decode.FormCBOR, decode.FormMessagePack, decode.FormLines,
	}
	for i, body := range []string{
		`{"a":1}`, "{\"a\":1}\n{", "a,b\n1,2\n", `[{"bn":"x:","n":"a","v":1,"t":-1e300}]`, bytesOf(f, "81 a2 21 61 61 02 01"), bytesOf(f, "bf 61 61 9f ff ff"),
		bytesOf(f, "82 a1 61 c3 a1 62 d3 8000000000000000"), "a,b=c d=1i 1773500966",
	} {
		f.Add(uint8(i), true, []byte(body))
		f.Add(uint8(i), false, []byte(body))
	}
	d := decode.New(decode.DefaultLimits(), nil, nil)
	f.Fuzz(func(t *testing.T, form uint8, device bool, body []byte) {
		from := decode.Source{Site: "hall"}
		if device {
			from.Device = "gw"
		}
		items, err := d.Body(forms[int(form)%len(forms)], from, body, at(arrival))
		if err != nil {
			checkError(t, err)
		}
		checkItems(t, items)
	})
}

// checkItems checks what every item must be.
func checkItems(t *testing.T, items []decode.Item) {
	t.Helper()
	for _, item := range items {
		if item.Err != nil {
			checkError(t, item.Err)
			continue
		}
		checkToken(t, item.Site)
		checkToken(t, item.Device)
		for i := range item.Readings {
			checkReadings(t, item.Readings[i:i+1], true)
		}
		if len(item.Readings) == 0 {
			t.Fatal("an item has no reading")
		}
	}
}
