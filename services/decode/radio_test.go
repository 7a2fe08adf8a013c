package decode_test

// radios are messages of devices that speak through a gateway, and of ESPHome.
var radios = []device{
	{"ESPHome: sensor", "greenhouse/sensor/outside_temperature/state", "21.5", "ESPHome", []string{"home/greenhouse outside_temperature=21.5"}},
	{"ESPHome: binary sensor", "greenhouse/binary_sensor/door/state", "OFF", "ESPHome", []string{"home/greenhouse door=false"}},
	{"ESPHome: text", "greenhouse/text_sensor/version/state", "2026.2.1", "ESPHome", []string{`home/greenhouse version="2026.2.1"`}},
	{"ESPHome: light", "flat/lamp/light/ceiling/state", `{"state":"ON","brightness":128,"color_mode":"brightness"}`, "ESPHome", []string{
		"home/flat_lamp ceiling_state=true", "home/flat_lamp ceiling_brightness=128", `home/flat_lamp ceiling_color_mode="brightness"`,
	}},
	{"ESPHome: climate", "heating/climate/floor/current_temperature/state", "19.5", "ESPHome", []string{"home/heating floor_current_temperature=19.5"}},
	{"ESPHome: last will", "greenhouse/status", "offline", "ESPHome", []string{"home/greenhouse online=false"}},
	{"ESPHome: a sensor that fails", "greenhouse/sensor/co2/state", "nan", "ESPHome", nil},
	{"ESPHome: log", "greenhouse/debug", "[I][app:102]: running", "ESPHome", nil},

	{
		"rtl_433: Acurite tower", "rtl_433/pi/events",
		`{"time":"2026-03-14 16:09:25","model":"Acurite-Tower","id":11524,"channel":"A","battery_ok":1,"temperature_C":4.5,"humidity":82,"mic":"CHECKSUM"}`,
		"rtl_433",
		[]string{
			"home/Acurite-Tower_A_11524 battery_ok=1 @15:09:25", "home/Acurite-Tower_A_11524 temperature_C=4.5 °C @15:09:25", "home/Acurite-Tower_A_11524 humidity=82 % @15:09:25",
		},
	},
	{
		"rtl_433: Fine Offset WH2600 weather station", "rtl_433/pi/events",
		`{"time":"2026-03-14T15:09:26","model":"Fineoffset-WHx080","subtype":0,"id":202,"battery_ok":1,"temperature_C":8.1,"humidity":71,"wind_dir_deg":225,"wind_avg_km_h":6.12,"rain_mm":30.6}`,
		"rtl_433",
		[]string{
			"home/Fineoffset-WHx080_0_202 battery_ok=1 @15:09:26", "home/Fineoffset-WHx080_0_202 temperature_C=8.1 °C @15:09:26", "home/Fineoffset-WHx080_0_202 humidity=71 % @15:09:26",
			"home/Fineoffset-WHx080_0_202 wind_dir_deg=225 ° @15:09:26", "home/Fineoffset-WHx080_0_202 wind_avg_km_h=6.12 km/h @15:09:26", "home/Fineoffset-WHx080_0_202 rain_mm=30.6 mm @15:09:26",
		},
	},
	{"rtl_433: one value", "rtl_433/pi/devices/LaCrosse-TX141THBv2/1/203/temperature_C", "21.5", "rtl_433", []string{"home/LaCrosse-TX141THBv2_1_203 temperature_C=21.5 °C"}},
	{"rtl_433: what the topic says", "rtl_433/pi/devices/LaCrosse-TX141THBv2/1/203/id", "203", "rtl_433", nil},
	{"rtl_433: last will", "rtl_433/pi/availability", "online", "rtl_433", []string{"home/pi online=true"}},

	{
		"Theengs Gateway: Xiaomi LYWSD03MMC", "home/TheengsGateway/BTtoMQTT/A4C138000001",
		`{"name":"ATC_000001","id":"A4:C1:38:00:00:01","rssi":-71,"brand":"Xiaomi","model":"TH Sensor","model_id":"LYWSD03MMC_ATC","type":"THB","tempc":21.5,"tempf":70.7,"hum":45,"batt":88,"volt":2.98}`,
		"OpenMQTTGateway",
		[]string{
			"home/A4C138000001 rssi=-71 dBm", "home/A4C138000001 tempc=21.5 °C", "home/A4C138000001 hum=45 %", "home/A4C138000001 batt=88 %", "home/A4C138000001 volt=2.98 V",
		},
	},
	{"OpenMQTTGateway: Mi Flora", "home/OMG_ESP32/BTtoMQTT/C47C8D000002", `{"id":"C4:7C:8D:00:00:02","rssi":-80,"model_id":"HHCCJCY01HHCC","moi":31,"fer":120,"lux":55}`, "OpenMQTTGateway", []string{
		"home/C47C8D000002 rssi=-80 dBm", "home/C47C8D000002 moi=31 %", "home/C47C8D000002 fer=120 µS/cm", "home/C47C8D000002 lux=55 lx",
	}},
	{"OpenMQTTGateway: radio of 433 MHz", "home/OMG_RF/RTL_433toMQTT/Nexus-TH/2/117", `{"model":"Nexus-TH","id":117,"channel":2,"battery_ok":1,"temperature_C":19.2,"humidity":51,"rssi":-68}`, "OpenMQTTGateway", []string{
		"home/Nexus-TH_2_117 battery_ok=1", "home/Nexus-TH_2_117 temperature_C=19.2 °C", "home/Nexus-TH_2_117 humidity=51 %", "home/Nexus-TH_2_117 rssi=-68",
	}},
	{"OpenMQTTGateway: about itself", "home/OMG_ESP32/SYStoMQTT", `{"uptime":61,"version":"1.7.0","freemem":128000,"rssi":-55,"SSID":"attic","ip":"192.0.2.9","mac":"00:11:22:33:44:55"}`, "OpenMQTTGateway", []string{
		"home/OMG_ESP32 uptime=61 s", "home/OMG_ESP32 freemem=128000", "home/OMG_ESP32 rssi=-55 dBm",
	}},
	{"OpenMQTTGateway: last will", "home/OMG_ESP32/LWT", "online", "OpenMQTTGateway", []string{"home/OMG_ESP32 online=true"}},

	{
		"ChirpStack: Milesight EM300-TH", "application/17c82e96-be03-4f38-aef3-f83d48582d97/device/24e124136b000001/event/up",
		`{"deduplicationId":"3ac7e3c4","time":"2026-03-14T15:09:25.5+00:00","deviceInfo":{"tenantName":"t","applicationName":"a","deviceName":"cold room","devEui":"24e124136b000001","tags":{}},"devAddr":"00189440","dr":1,"fPort":85,"data":"AXVc","object":{"battery":92,"temperature":4.1,"humidity":61.5},"rxInfo":[{"gatewayId":"0016c001f153a14c","rssi":-97,"snr":5.2},{"gatewayId":"0016c001f153a14d","rssi":-48,"snr":9.25}],"txInfo":{"frequency":868100000}}`,
		"ChirpStack",
		[]string{
			"home/cold_room battery=92 @15:09:25.5", "home/cold_room temperature=4.1 @15:09:25.5", "home/cold_room humidity=61.5 @15:09:25.5",
			"home/cold_room rssi=-48 dBm @15:09:25.5", "home/cold_room snr=9.25 dB @15:09:25.5",
		},
	},
	{"ChirpStack: status", "application/a/device/24e1/event/status", `{"time":"2026-03-14T15:09:26+00:00","deviceInfo":{"devEui":"24e1"},"margin":10,"externalPowerSource":false,"batteryLevelUnavailable":false,"batteryLevel":75.5}`, "ChirpStack", []string{
		"home/24e1 margin=10 dB @15:09:26", "home/24e1 batteryLevel=75.5 % @15:09:26", "home/24e1 externalPowerSource=false @15:09:26",
	}},
	{"ChirpStack: join", "application/a/device/24e1/event/join", `{"devAddr":"00189440"}`, "ChirpStack", nil},

	{
		"The Things Stack: Dragino LHT65", "v3/farm@ttn/devices/barn-1/up",
		`{"end_device_ids":{"device_id":"barn-1","application_ids":{"application_id":"farm"},"dev_eui":"A840411F00000001"},"received_at":"2026-03-14T15:09:26.4Z","uplink_message":{"f_port":2,"f_cnt":42,"frm_payload":"y6kKKA==","decoded_payload":{"BatV":3.04,"TempC_SHT":12.5,"Hum_SHT":77.1},"rx_metadata":[{"gateway_ids":{"gateway_id":"g"},"rssi":-104,"snr":7.5}],"received_at":"2026-03-14T15:09:26.2Z"}}`,
		"The Things Stack",
		[]string{
			"home/barn-1 BatV=3.04 @15:09:26.2", "home/barn-1 TempC_SHT=12.5 @15:09:26.2", "home/barn-1 Hum_SHT=77.1 @15:09:26.2",
			"home/barn-1 rssi=-104 dBm @15:09:26.2", "home/barn-1 snr=7.5 dB @15:09:26.2",
		},
	},
	{"The Things Stack: join", "v3/farm@ttn/devices/barn-1/join", `{"join_accept":{}}`, "The Things Stack", nil},
}
