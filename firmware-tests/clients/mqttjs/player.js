// Plays one MQTT.js client for a test: commands come as lines of JSON on
// standard input, answers and messages go as lines of JSON to standard output.
const fs = require('node:fs')
const readline = require('node:readline')
const mqtt = require('mqtt')

const say = (line) => process.stdout.write(JSON.stringify(line) + '\n')
const answer = (err, more) => say({ answer: true, error: err ? String(err.message || err) : '', ...more })

let client

const commands = {
  connect(c) {
    client = mqtt.connect(c.url, {
      protocolVersion: c.version,
      clientId: c.id,
      clean: !c.persist,
      ca: fs.readFileSync(c.ca),
      reconnectPeriod: 0,
      resubscribe: false,
      will: c.will ? { topic: c.will.Topic, payload: Buffer.from(c.will.Payload), qos: c.will.QoS, retain: c.will.Retain } : undefined,
      properties: c.version === 5 && c.persist ? { sessionExpiryInterval: 3600 } : undefined,
    })
    client.once('connect', (connack) => answer(null, { present: connack.sessionPresent }))
    client.once('error', (err) => answer(err))
    client.on('message', (topic, payload, packet) => {
      const p = packet.properties || {}
      const user = []
      for (const [name, value] of Object.entries(p.userProperties || {})) {
        for (const v of [].concat(value)) user.push(name, v)
      }
      say({
        Topic: topic, Payload: payload.toString(), QoS: packet.qos, Retain: packet.retain,
        Expiry: p.messageExpiryInterval || 0, ContentType: p.contentType || '', User: user,
      })
    })
  },

  subscribe(c) {
    client.subscribe(c.filter, { qos: c.qos }, (err) => answer(err))
  },

  publish(c) {
    const m = c.message
    const properties = {}
    if (m.Expiry) properties.messageExpiryInterval = m.Expiry
    if (m.ContentType) properties.contentType = m.ContentType
    if (m.User) {
      properties.userProperties = {}
      for (let i = 0; i < m.User.length; i += 2) (properties.userProperties[m.User[i]] ||= []).push(m.User[i + 1])
    }
    client.publish(m.Topic, m.Payload, { qos: m.QoS, retain: m.Retain, properties }, (err) => answer(err))
  },

  disconnect() {
    client.end(false, {}, (err) => answer(err))
  },
}

readline.createInterface({ input: process.stdin })
  .on('line', (line) => {
    const command = JSON.parse(line)
    commands[command.do](command)
  })
  .on('close', () => process.exit(0))
