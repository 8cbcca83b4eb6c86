// Plays one client of Eclipse Paho for C++ for a test, see process_test.go.
#include <mqtt/async_client.h>

#include <iostream>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

using fields = std::vector<std::string>;
using prop = mqtt::property;

static const auto patience = std::chrono::seconds(20);
static std::unique_ptr<mqtt::async_client> client;

static void say(const fields& line) {
	static std::mutex m;
	std::lock_guard<std::mutex> lock(m);
	for (size_t i = 0; i < line.size(); i++) std::cout << (i ? "\t" : "") << line[i];
	std::cout << std::endl;
}

static void came(mqtt::const_message_ptr m) {
	auto& props = m->get_properties();
	uint32_t expiry = 0;
	std::string type;
	if (props.contains(prop::MESSAGE_EXPIRY_INTERVAL)) expiry = mqtt::get<uint32_t>(props, prop::MESSAGE_EXPIRY_INTERVAL);
	if (props.contains(prop::CONTENT_TYPE)) type = mqtt::get<std::string>(props, prop::CONTENT_TYPE);
	fields line{"message", m->get_topic(), m->to_string(), std::to_string(m->get_qos()), m->is_retained() ? "1" : "0", std::to_string(expiry), type};
	for (size_t i = 0; i < props.count(prop::USER_PROPERTY); i++) {
		auto pair = mqtt::get<mqtt::string_pair>(props, prop::USER_PROPERTY, i);
		line.push_back(std::get<0>(pair));
		line.push_back(std::get<1>(pair));
	}
	say(line);
}

// wait waits for the answer to a request, and throws what is wrong with it.
static void wait(mqtt::token_ptr token) {
	if (!token->wait_for(patience)) throw std::runtime_error("no answer");
	if (token->get_reason_code() >= 0x80) throw std::runtime_error("refused: " + std::to_string(token->get_reason_code()));
}

// url version id persist ca [topic payload qos retain ...]
static void do_connect(const fields& f) {
	bool persist = f[4] == "1";
	int version = f[2] == "5.0" ? MQTTVERSION_5 : MQTTVERSION_3_1_1;
	std::string url = f[1];
	if (url.compare(0, 3, "tls") == 0) url.replace(0, 3, "ssl");
	client.reset(new mqtt::async_client(url, f[3], mqtt::create_options(version)));
	client->set_message_callback(came);
	mqtt::connect_options o;
	o.set_mqtt_version(version);
	if (version == MQTTVERSION_5) {
		o.set_clean_start(!persist);
		mqtt::properties props;
		props.add({prop::SESSION_EXPIRY_INTERVAL, persist ? 3600 : 0});
		o.set_properties(props);
	} else {
		o.set_clean_session(!persist);
	}
	mqtt::ssl_options ssl;
	ssl.set_trust_store(f[5]);
	ssl.set_verify(true); // the host's name too
	o.set_ssl(ssl);
	if (f.size() > 6) o.set_will(mqtt::will_options(f[6], f[7], std::stoi(f[8]), f[9] == "1"));
	auto token = client->connect(o);
	wait(token);
	say({"ok", token->get_connect_response().is_session_present() ? "1" : "0"});
}

// topic payload qos retain expiry content-type [name value]...
static void do_publish(const fields& f) {
	mqtt::properties props;
	if (f[5] != "0") props.add({prop::MESSAGE_EXPIRY_INTERVAL, std::stoi(f[5])});
	if (!f[6].empty()) props.add({prop::CONTENT_TYPE, f[6]});
	for (size_t i = 7; i < f.size(); i += 2) props.add({prop::USER_PROPERTY, f[i], f[i + 1]});
	wait(client->publish(mqtt::message::create(f[1], f[2], std::stoi(f[3]), f[4] == "1", props)));
	say({"ok"});
}

static void run(const fields& f) {
	if (f[0] == "connect") {
		do_connect(f);
	} else if (f[0] == "subscribe") {
		wait(client->subscribe(f[1], std::stoi(f[2])));
		say({"ok"});
	} else if (f[0] == "publish") {
		do_publish(f);
	} else {
		wait(client->disconnect());
		say({"ok"});
	}
}

int main() {
	std::string line, field;
	while (std::getline(std::cin, line)) {
		fields f;
		std::istringstream in(line + "\t");
		while (std::getline(in, field, '\t')) f.push_back(field);
		try {
			run(f);
		} catch (const std::exception& e) {
			say({"error", e.what()});
		}
	}
	std::_Exit(0); // without waiting for the library's threads
}
