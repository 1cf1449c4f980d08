using System.Buffers.Binary;

namespace Sals.Engine.Text;

/// <summary>Walks the fields of one protobuf message. Hostile input: every length is checked against what is left.</summary>
internal ref struct ProtobufReader(ReadOnlySpan<byte> message, string file)
{
    private ReadOnlySpan<byte> _rest = message;

    /// <summary>Number of the field whose value is read next.</summary>
    public int Field { get; private set; }

    private int _wireType;

    /// <summary>Moves to the next field; false at the end.</summary>
    public bool Next()
    {
        if (_rest.IsEmpty)
        {
            return false;
        }

        var key = Varint();
        Field = key >> 3 is > 0 and < 1 << 29 ? (int)(key >> 3) : throw Broken("a field number out of range");
        _wireType = (int)(key & 7);
        return true;
    }

    public long Integer() => _wireType == 0 ? unchecked((long)Varint()) : throw Broken($"field {Field}: expected a varint, found wire type {_wireType}");

    public float Float() => _wireType == 5
        ? BinaryPrimitives.ReadSingleLittleEndian(Take(4))
        : throw Broken($"field {Field}: expected a float, found wire type {_wireType}");

    public ReadOnlySpan<byte> Bytes()
    {
        if (_wireType != 2)
        {
            throw Broken($"field {Field}: expected bytes, found wire type {_wireType}");
        }

        var length = Varint();
        return length <= (ulong)_rest.Length ? Take((int)length) : throw Broken($"field {Field}: {length} bytes announced, {_rest.Length} are left");
    }

    /// <summary>Passes over the value.</summary>
    public void Skip()
    {
        switch (_wireType)
        {
            case 0:
                Varint();
                break;
            case 1:
                Take(8);
                break;
            case 2:
                Bytes();
                break;
            case 5:
                Take(4);
                break;
            default:
                throw Broken($"field {Field}: wire type {_wireType}");
        }
    }

    private ulong Varint()
    {
        ulong value = 0;
        for (var i = 0; i < 10; i++)
        {
            var b = Take(1)[0];
            value |= (ulong)(b & 0x7F) << (7 * i);
            if (b < 0x80)
            {
                return value;
            }
        }

        throw Broken("a varint of more than 10 bytes");
    }

    private ReadOnlySpan<byte> Take(int count)
    {
        if (count > _rest.Length)
        {
            throw Broken("the file ends inside a field");
        }

        var taken = _rest[..count];
        _rest = _rest[count..];
        return taken;
    }

    private readonly TokenizerException Broken(string what) => new($"{file}: not a sentencepiece model: {what}");
}
