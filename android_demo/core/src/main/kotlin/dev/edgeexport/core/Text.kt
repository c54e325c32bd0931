package dev.edgeexport.core

import java.math.BigDecimal
import java.math.MathContext
import java.math.RoundingMode
import java.nio.ByteBuffer
import java.nio.charset.CharacterCodingException
import java.nio.charset.CodingErrorAction

// Text fit for one line of a message, and numbers as Python writes them. It knows nothing of what they are of.

private const val SPACE = ' '
private const val MOST_DIGITS = 17
private const val LEAST_EXPONENT = -4

/** [text] with a space for every character that would break the line or steer a terminal. */
internal fun printable(text: String): String =
    buildString(text.length) { text.eachPoint { if (isPrintable(it)) appendCodePoint(it) else append(SPACE) } }

/** `'text'`, as Python's `repr` quotes it: in one line, whatever is in it. */
internal fun quoted(text: String): String {
    val quote = if ('\'' in text && '"' !in text) '"' else '\''
    return buildString {
        append(quote)
        text.eachPoint { append(escaped(it, quote)) }
        append(quote)
    }
}

/** `['a', 'b']`, as Python writes a list. */
internal fun quoted(words: Collection<String>): String = words.joinToString(prefix = "[", postfix = "]") { quoted(it) }

/** The first [count] characters, a pair of surrogates being one. */
internal fun String.firstPoints(count: Int): String =
    if (codePointCount(0, length) <= count) this else substring(0, offsetByCodePoints(0, count))

/** A number as messages write it: six digits at most, like C's `%g`. */
internal fun brief(number: Double): String = unusual(number) ?: written(rounded(number, 6), exponentFrom = 6)

/** A number in the fewest digits that give it back, as Python's `repr` writes it. */
internal fun shortest(number: Double): String {
    unusual(number)?.let { return if (number == 0.0) "$it.0" else it }
    val digits = (1..MOST_DIGITS).first { rounded(number, it).toDouble() == number }
    val text = written(rounded(number, digits), exponentFrom = 16)
    return if (text.any { it == '.' || it == 'e' }) text else "$text.0"
}

/** A number with so many [places] after the point. */
internal fun fixed(number: Double, places: Int): String =
    BigDecimal(number).setScale(places, RoundingMode.HALF_EVEN).toPlainString()

/** UTF-8 of [text]: lone surrogates are U+FFFD. */
internal fun utf8(text: String): ByteArray {
    val encoded = Charsets.UTF_8.newEncoder()
        .onMalformedInput(CodingErrorAction.REPLACE)
        .replaceWith("\uFFFD".toByteArray())
        .encode(java.nio.CharBuffer.wrap(text))
    return ByteArray(encoded.remaining()).also { encoded.get(it) }
}

/** The text in [data], or null where it is no UTF-8. */
internal fun textOf(data: ByteArray): String? = try {
    Charsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(data)).toString()
} catch (_: CharacterCodingException) {
    null
}

private inline fun String.eachPoint(action: (Int) -> Unit) {
    var index = 0
    while (index < length) {
        val point = codePointAt(index)
        action(point)
        index += Character.charCount(point)
    }
}

private fun isPrintable(point: Int): Boolean = when (Character.getType(point).toByte()) {
    Character.CONTROL, Character.FORMAT, Character.SURROGATE, Character.PRIVATE_USE, Character.UNASSIGNED,
    Character.LINE_SEPARATOR, Character.PARAGRAPH_SEPARATOR,
    -> false

    Character.SPACE_SEPARATOR -> point == SPACE.code

    else -> true
}

private fun escaped(point: Int, quote: Char): String = when {
    point == quote.code || point == '\\'.code -> "\\" + point.toChar()
    point == '\n'.code -> "\\n"
    point == '\r'.code -> "\\r"
    point == '\t'.code -> "\\t"
    isPrintable(point) -> String(Character.toChars(point))
    point <= 0xFF -> "\\x" + hex(point, 2)
    point <= 0xFFFF -> "\\u" + hex(point, 4)
    else -> "\\U" + hex(point, 8)
}

private fun hex(number: Int, digits: Int): String = Integer.toHexString(number).padStart(digits, '0')

private fun unusual(number: Double): String? = when {
    number.isNaN() -> "nan"
    number.isInfinite() -> if (number > 0) "inf" else "-inf"
    number == 0.0 -> if (1 / number > 0) "0" else "-0"
    else -> null
}

private fun rounded(number: Double, digits: Int): BigDecimal =
    BigDecimal(number).round(MathContext(digits, RoundingMode.HALF_EVEN))

/** Plainly, or with an exponent where that is below -4 or not below [exponentFrom]. */
private fun written(number: BigDecimal, exponentFrom: Int): String {
    val plain = number.stripTrailingZeros()
    val exponent = plain.precision() - plain.scale() - 1
    if (exponent in LEAST_EXPONENT until exponentFrom) return plain.toPlainString()
    val digits = plain.unscaledValue().abs().toString()
    val mantissa = if (digits.length == 1) digits else "${digits[0]}.${digits.substring(1)}"
    val sign = if (exponent < 0) '-' else '+'
    return (if (plain.signum() < 0) "-" else "") + mantissa + "e" + sign +
        Math.abs(exponent).toString().padStart(2, '0')
}
