# Plays clients of Eclipse Paho for Python for tests, see process_test.go.
import os
import sys
from urllib.parse import urlsplit

from paho.mqtt import client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


def say(*fields):
    os.write(1, ("\t".join(str(field) for field in fields) + "\n").encode())


def answer(rc):
    if rc == 0:
        say("ok")
    else:
        say("error", mqtt.error_string(rc))


class Player:
    def connect(self, url, version, id, persist, ca, will=None, payload=None, qos=0, retain=0, *_):
        url = urlsplit(url)
        self.v5 = version == "5.0"
        transport = "websockets" if url.scheme in ("ws", "wss") else "tcp"
        # Version 2 of the library has to be told that these callbacks are those of 1.
        args = [mqtt.CallbackAPIVersion.VERSION1, id] if hasattr(mqtt, "CallbackAPIVersion") else [id]
        if self.v5:
            self.client = mqtt.Client(*args, protocol=mqtt.MQTTv5, transport=transport)
        else:
            self.client = mqtt.Client(*args, clean_session=persist == "0", protocol=mqtt.MQTTv311, transport=transport)
        if url.scheme in ("tls", "wss"):
            self.client.tls_set(ca)
        if will:
            self.client.will_set(will, payload, int(qos), retain == "1")
        self.client.on_connect = self.connected
        self.client.on_message = self.came
        self.client.on_subscribe = lambda *_: say("ok")
        self.client.on_publish = lambda *_: say("ok")
        self.client.on_disconnect = lambda client, userdata, rc, *_: rc == 0 and say("ok")
        if self.v5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 3600 * int(persist)
            self.client.connect(url.hostname, url.port, clean_start=persist == "0", properties=properties)
        else:
            self.client.connect(url.hostname, url.port)
        self.client.loop_start()

    def connected(self, client, userdata, flags, rc, *_):
        if rc == 0:
            say("ok", flags["session present"])
        else:
            say("error", rc)

    def came(self, client, userdata, m):
        p = getattr(m, "properties", None)
        user = [field for pair in getattr(p, "UserProperty", []) for field in pair]
        say("message", m.topic, m.payload.decode(), m.qos, int(m.retain),
            getattr(p, "MessageExpiryInterval", 0), getattr(p, "ContentType", ""), *user)

    def subscribe(self, filter, qos):
        rc, _ = self.client.subscribe(filter, int(qos))
        if rc:
            answer(rc)

    def publish(self, topic, payload, qos, retain, expiry, content_type, *user):
        properties = None
        if self.v5:
            properties = Properties(PacketTypes.PUBLISH)
            if expiry != "0":
                properties.MessageExpiryInterval = int(expiry)
            if content_type:
                properties.ContentType = content_type
            if user:
                properties.UserProperty = list(zip(user[::2], user[1::2]))
        info = self.client.publish(topic, payload, int(qos), retain == "1", properties)
        if info.rc:
            answer(info.rc)

    def disconnect(self):
        rc = self.client.disconnect()
        if rc:
            answer(rc)


player = Player()
for line in sys.stdin:
    command, *fields = line.rstrip("\n").split("\t")
    try:
        getattr(player, command)(*fields)
    except Exception as e:
        say("error", repr(e))
os._exit(0)  # without waiting for the library's thread
